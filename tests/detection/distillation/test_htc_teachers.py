"""HTC, with a semantic branch and without, teaches by every method that fits it, as does
DetectoRS."""

from typing import Any

import pytest
import torch

from detection.data.batches import make_batch
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps, region_features
from detection.head_traits import mmdet_traits
from detection.teacher_loading import check_can_teach, feature_levels
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_description import Tap
from searchd.domain.method_fit import fitting, traits
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.mmdet.random_models import build_mmdet

pytestmark = pytest.mark.timeout(120)  # the teachers have 80 million weights
SIZE = Resolution(64, 64)
CONFIGS = ("htc_r50_fpn_1x_coco", "htc-without-semantic_r50_fpn_1x_coco")
READ_THE_ROI_HEAD = ("proposal_feature", "classification", "sgfi", "ckd")
MATCHED = (*READ_THE_ROI_HEAD, "feature_matching")


@pytest.fixture(scope="module", params=CONFIGS)
def teacher(request: pytest.FixtureRequest) -> tuple[MmdetDetector, Any]:
    torch.manual_seed(3)
    detector = MmdetDetector(config=request.param, num_classes=4)
    return detector, build_mmdet(detector).eval().requires_grad_(False)


def test_htc_teaches_by_every_method_that_reads_its_roi_head(
    teacher: tuple[MmdetDetector, Any], shapes: CocoSplit
) -> None:
    detector, model = teacher
    check_can_teach(model, detector.config)
    found = mmdet_traits(detector, model, feature_levels(model, SIZE))
    known = traits(Detector(architecture=preset("resnet18"), neck_channels=16))
    fits = fitting(known, found)
    student: Any = tiny("resnet18", 16)
    batch = make_batch(shapes, [0, 1], SIZE, [False, True])

    assert set(READ_THE_ROI_HEAD) <= set(fits)
    assert not {"localisation", "head_transfer", "inheriting"} & set(fits)
    methods = [
        MethodSpec(name=MethodName(name), options=options_of(name)) for name in fits_here(fits)
    ]
    losses = Distiller(methods, model, pair_of(student, model, shapes))(
        student_step(student, batch).taps
    )
    torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert set(READ_THE_ROI_HEAD) <= set(losses)
    assert student.backbone.conv1.weight.grad.abs().max() > 0


THIN = {"backbone.base_channels": 8, "neck.rfp_backbone.base_channels": 8}
PYRAMID = {"neck.in_channels": [32, 64, 128, 256]}


def test_detectors_teaches_by_the_methods_that_read_its_roi_head(shapes: CocoSplit) -> None:
    """Its backbone cannot read an image as small as those of the other tests."""
    torch.manual_seed(3)
    size = Resolution(128, 128)
    config, options = "detectors_cascade-rcnn_r50_1x_coco", THIN | PYRAMID
    detector = MmdetDetector(config=config, num_classes=4, options=options)
    model: Any = build_mmdet(detector).eval().requires_grad_(False)
    check_can_teach(model, config)
    found = mmdet_traits(detector, model, feature_levels(model, size))
    known = traits(Detector(architecture=preset("resnet18"), neck_channels=16))
    student = tiny("resnet18", 16)
    methods = [MethodSpec(name=MethodName(name), options=options_of(name)) for name in MATCHED]

    losses = Distiller(methods, model, pair_of(student, model, shapes))(
        student_step(student, make_batch(shapes, [0], size, [False])).taps
    )

    assert set(MATCHED) <= set(fitting(known, found))
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    assert set(losses) == set(MATCHED)


def fits_here(fits: tuple[MethodName, ...]) -> tuple[MethodName, ...]:
    """Those without a crop classifier."""
    return tuple(name for name in fits if "dicod" not in name)


def options_of(name: str) -> dict[str, Any]:
    small: dict[str, dict[str, Any]] = {
        "ckd": {"queue_size": 64},
        "icd": {"warmup_iterations": 0},
    }
    return small.get(name, {})


def test_region_features_are_what_the_box_head_reads_semantics_included(
    teacher: tuple[MmdetDetector, Any], shapes: CocoSplit
) -> None:
    _, model = teacher
    student = student_step(tiny("resnet18", 16), make_batch(shapes, [0], SIZE, [False])).taps
    read = frozenset({Tap.REGION_FEATURES, Tap.CLASS_LOGITS})

    alone = TeacherTaps(model, student, frozenset({Tap.REGION_FEATURES})).region_features
    with_head = TeacherTaps(model, student, read).region_features

    torch.testing.assert_close(alone, with_head)
    features = model.extract_feat(student.batch.inputs)
    plain = model.roi_head.bbox_roi_extractor[0](features[:4], student.regions.compared)
    assert torch.equal(alone, plain) is not model.roi_head.with_semantic
    torch.testing.assert_close(
        region_features(model.roi_head, features, student.regions.compared), alone
    )
