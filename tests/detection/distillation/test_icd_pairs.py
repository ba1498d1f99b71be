"""ICD across detectors: other families, and Faster R-CNN and SSD without a pyramid."""

from typing import Any

import pytest
import torch

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from searchd.domain.detector import Family, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.mmdet.random_models import build_mmdet
from tests.detection.mmdet.test_config import RESNET18_C4

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

FEW_ROIS = {"train_cfg.rcnn.sampler.num": 4, "train_cfg.rpn_proposal.max_per_img": 20}
THIN_DC5 = {
    "backbone.depth": 18,
    "rpn_head.in_channels": 512,
    "rpn_head.feat_channels": 16,
    "roi_head.bbox_roi_extractor.out_channels": 512,
    "roi_head.bbox_head.in_channels": 512,
    "roi_head.bbox_head.fc_out_channels": 32,
}
SMALL_SSD: dict[str, Any] = {
    "neck.out_channels": (512, 1024, 64),
    "neck.level_strides": (2,),
    "neck.level_paddings": (1,),
    "bbox_head.in_channels": (512, 1024, 64),
    "bbox_head.anchor_generator.strides": [8, 16, 32],
    "bbox_head.anchor_generator.ratios": [[2], [2, 3], [2]],
    "bbox_head.anchor_generator.input_size": 64,
    "bbox_head.anchor_generator.min_sizes": [8, 16, 32],
    "bbox_head.anchor_generator.max_sizes": [16, 32, 64],
    "bbox_head.anchor_generator.basesize_ratio_range": None,
}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "c4": ("faster-rcnn_r50-caffe_c4-1x_coco", FEW_ROIS | RESNET18_C4),
    "dc5": ("faster-rcnn_r50-caffe-dc5_1x_coco", FEW_ROIS | THIN_DC5),
    "ssd": ("ssd300_coco", SMALL_SSD),
}


def detector(name: str, neck_channels: int) -> Any:
    """One of mmdet's own by a name of OTHERS, else of a family."""
    if name in OTHERS:
        config, options = OTHERS[name]
        return build_mmdet(MmdetDetector(config=config, num_classes=4, options=options))
    return tiny("resnet18", neck_channels, Family(name))


@pytest.mark.parametrize(
    ("student_name", "teacher_name"),
    [
        ("retinanet", "fcos"),
        ("faster_rcnn", "cascade_rcnn"),
        ("retinanet", "faster_rcnn"),
        ("fcos", "cascade_rcnn"),
        ("c4", "faster_rcnn"),
        ("c4", "dc5"),
        ("dc5", "c4"),
        ("ssd", "retinanet"),
        ("retinanet", "ssd"),
    ],
)
def test_pair_is_distilled(
    shapes: CocoSplit, batch: Batch, student_name: str, teacher_name: str
) -> None:
    torch.manual_seed(0)
    student, teacher = detector(student_name, 16), detector(teacher_name, 24)
    spec = MethodSpec(name=MethodName.ICD, options={"warmup_iterations": 0})
    chosen = Distiller((spec,), teacher, pair_of(student, teacher, shapes))

    losses = chosen(student_step(student, batch).taps)
    losses["icd"].backward()

    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    gradients = [p.grad for p in student.backbone.parameters() if p.grad is not None]
    assert max(float(gradient.abs().max()) for gradient in gradients) > 0
