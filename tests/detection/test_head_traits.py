"""What decides which methods fit is read from a detector as its description tells it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from detection.head_traits import head_geometry, mmdet_traits
from detection.mmdet.config import assemble_mmdet
from detection.teacher_loading import check_can_teach, feature_levels
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.head_geometry import geometry
from searchd.domain.method_fit import Traits, misfit, traits
from searchd.domain.resolution import Resolution
from tests.detection.distillation.conftest import tiny
from tests.detection.test_teacher_loading import described

pytestmark = pytest.mark.timeout(60)  # real detectors are built
SIZE = Resolution(64, 64)


def read(detector: MmdetDetector) -> Traits:
    model: Any = assemble_mmdet(detector).eval()
    found = mmdet_traits(detector, model, feature_levels(model, SIZE))
    assert found is not None
    return found


@pytest.mark.parametrize("family", Family)
def test_the_geometry_of_a_built_detector_is_the_one_that_its_description_tells(
    family: Family,
) -> None:
    known = Detector(
        architecture=preset("resnet18"), family=family, anchor_scale=4, finest_roi_scale=14
    )

    assert head_geometry(tiny("resnet18", 8, family).eval()) == geometry(known)


def test_a_faster_rcnn_of_mmdet_has_the_head_of_ours() -> None:
    student = Detector(architecture=preset("resnet18"), neck_channels=6, head_channels=16)

    found = read(described("ResNeXt, Faster R-CNN"))

    assert (found.head, found.neck_channels) == ((16,), (6,))
    assert misfit(MethodName.INHERITING, traits(student), found) is None


def test_a_mask_rcnn_of_mmdet_has_the_mask_head_of_ours() -> None:
    found = read(described("Swin, Mask R-CNN"))
    student = Detector(
        architecture=preset("resnet18"),
        family=Family.MASK_RCNN,
        neck_channels=6,
        head_channels=16,
        mask_channels=6,
    )

    assert (found.family, found.head, found.neck_channels) == (Family.MASK_RCNN, (16, 6), (6,))
    assert misfit(MethodName.INHERITING, traits(student), found) is None
    assert misfit(MethodName.LOCALISATION, traits(student), found) is None
    boxes = traits(replace(student, family=Family.FASTER_RCNN))
    assert misfit(MethodName.CLASS_AWARE_LOCALISATION, boxes, found) is None
    assert "the student is faster_rcnn" in str(misfit(MethodName.INHERITING, boxes, found))


def test_a_mask_head_that_reads_other_regions_is_copied_to_no_student() -> None:
    description = described("Swin, Mask R-CNN")
    other = replace(
        description,
        options={
            **description.options,
            "roi_head.mask_roi_extractor.roi_layer.output_size": 7,
            "train_cfg.rcnn.mask_size": 14,
        },
    )
    student = Detector(
        architecture=preset("resnet18"),
        family=Family.MASK_RCNN,
        neck_channels=6,
        head_channels=16,
        mask_channels=6,
    )

    assert "cells along the side of a mask's region: 14 of the student, 7 of the teacher" in str(
        misfit(MethodName.INHERITING, traits(student), read(other))
    )


def test_a_hybrid_task_cascade_teaches_as_a_cascade_of_masks() -> None:
    found = read(MmdetDetector(config="htc_r50_fpn_1x_coco", num_classes=4))
    student = traits(Detector(architecture=preset("resnet18"), family=Family.MASK_RCNN))

    assert (found.family, found.head) == (Family.CASCADE_MASK_RCNN, ())
    assert misfit(MethodName.FEATURE_MATCHING, student, found) is None
    assert misfit(MethodName.SGFI, student, found) is None
    assert "teaches faster_rcnn" not in str(misfit(MethodName.CLASSIFICATION, student, found))


@pytest.mark.parametrize("config", ["ddod_r50_fpn_1x_coco", "paa_r50_fpn_1x_coco"])
def test_a_head_with_other_layers_is_copied_to_no_student(config: str) -> None:
    found = read(MmdetDetector(config=config, num_classes=4))
    student = Detector(architecture=preset("resnet18"), family=found.family, neck_channels=6)

    assert found.head == ()
    assert "needs a teacher with the student's head" in str(
        misfit(MethodName.INHERITING, traits(student), found)
    )


def test_box_deltas_are_not_read_of_a_roi_head_that_predicts_none() -> None:
    student = traits(Detector(architecture=preset("resnet18")))

    found = read(MmdetDetector(config="grid-rcnn_r50_fpn_gn-head_2x_coco", num_classes=4))

    assert "box deltas: 8 of the student, 0 of the teacher" in str(
        misfit(MethodName.LOCALISATION, student, found)
    )
    assert misfit(MethodName.CLASSIFICATION, student, found) is None


@pytest.mark.parametrize("name", ["classification", "dkd", "dist", "class_aware_localisation"])
def test_scores_with_an_objectness_of_their_own_are_compared_with_no_students(name: str) -> None:
    student = Detector(architecture=preset("resnet18"))
    config = "seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1"
    found = read(MmdetDetector(config=config, num_classes=4))

    assert "beside those of the classes: 1 of the student, 2 of the teacher" in str(
        misfit(MethodName(name), traits(student), found)
    )
    assert misfit(MethodName.CKD, traits(student), found) is None


def test_a_roi_head_that_reads_more_than_neck_and_regions_is_refused_with_the_reason() -> None:
    model: Any = tiny("resnet18", 8).eval()

    def needs_more(_levels: object, _rois: torch.Tensor, context: object) -> None:
        raise AssertionError(context)

    model.roi_head._bbox_forward = needs_more
    with pytest.raises(InvalidValueError, match="StandardRoIHead cannot be read .* 'context'"):
        check_can_teach(model, "odd")
