"""Detectors with a Swin backbone as teachers (MTPD 4.4)."""

from typing import Any

import pytest
import torch

from detection.adaptation.cost import adaptation_costs
from detection.data.batches import make_batch
from detection.data.coco import CocoSplit
from detection.data.views import FixedViews
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.levels import LevelAdapters
from detection.distillation.student import student_step
from searchd.domain.detector import Family, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.mmdet.random_models import build_mmdet

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SMALL_SWIN = {
    "backbone.embed_dims": 8,
    "backbone.depths": (2, 2, 2, 2),
    "backbone.num_heads": (1, 2, 2, 4),
    "neck.out_channels": 6,
}
SMALL_RPN = {
    "neck.in_channels": [8, 16, 32, 64],
    "rpn_head.in_channels": 6,
    "rpn_head.feat_channels": 6,
    "roi_head.bbox_roi_extractor.out_channels": 6,
    "roi_head.bbox_head.in_channels": 6,
    "roi_head.bbox_head.fc_out_channels": 16,
    "roi_head.mask_roi_extractor.out_channels": 6,
    "roi_head.mask_head.in_channels": 6,
    "roi_head.mask_head.conv_out_channels": 6,
}
SMALL_HEAD = {
    "neck.in_channels": [16, 32, 64],
    "bbox_head.in_channels": 6,
    "bbox_head.feat_channels": 6,
}
TEACHERS = {
    Family.FASTER_RCNN: ("mask-rcnn_swin-t-p4-w7_fpn_1x_coco", SMALL_SWIN | SMALL_RPN),
    Family.RETINANET: ("retinanet_swin-t-p4-w7_fpn_1x_coco", SMALL_SWIN | SMALL_HEAD),
}
every_family = pytest.mark.parametrize("family", TEACHERS)


def swin(family: Family) -> Any:
    config, options = TEACHERS[family]
    torch.manual_seed(2)
    return build_mmdet(MmdetDetector(config=config, num_classes=4, options=options))


@every_family
def test_a_swin_teachers_neck_has_the_students_shapes_and_needs_no_adapter(
    family: Family, shapes: CocoSplit
) -> None:
    student, teacher = tiny("resnet18", 6, family), swin(family)
    batch = make_batch(shapes, [0, 1], Resolution(128, 128), [False, True])
    with torch.no_grad():
        shapes_of = [
            [tuple(level.shape) for level in model.eval().extract_feat(batch.inputs)]
            for model in (student, teacher)
        ]
    assert shapes_of[0] == shapes_of[1]
    assert list(LevelAdapters(pair_of(student, teacher, shapes)).parameters()) == []


@every_family
def test_a_student_is_distilled_from_a_swin_teacher(family: Family, shapes: CocoSplit) -> None:
    student, teacher = tiny("resnet18", 6, family), swin(family)
    method = MethodSpec(name=MethodName.FEATURE_MATCHING)
    distiller = Distiller([method], teacher, pair_of(student, teacher, shapes))
    batch = make_batch(shapes, [0, 1], Resolution(64, 64), [False, True])
    distiller(student_step(student, batch).taps)["feature_matching"].backward()
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_adaptation_costs_to_and_from_swin_teachers(shapes: CocoSplit) -> None:
    models = {"student": tiny("resnet18", 6)} | {family: swin(family) for family in TEACHERS}
    views = FixedViews(
        split=shapes, resolutions=dict.fromkeys(models, Resolution(128, 128)), batch_size=4
    )
    found = adaptation_costs(models, views, views)
    assert all(cost > 0 for row in found.values() for cost in row.values())
    assert {name: len(row) for name, row in found.items()} == dict.fromkeys(models, 2)
