"""Mask R-CNNs are taught by the methods of two-stage students, and teach; masks stay mmdet's."""

from typing import Any

import pytest
import torch

from detection.data.batches import Batch
from detection.data.coco import CocoSplit
from detection.distillation.student import student_step
from detection.training import Training
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import TrainingSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import distiller_of

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

METHODS = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.CLASSIFICATION,
    MethodName.CLASS_AWARE_LOCALISATION,
    MethodName.LOCALISATION,
    MethodName.SGFI,
    MethodName.CKD,
    MethodName.DKD,
    MethodName.DIST,
)
"""Methods that read the RoI head or its regions."""
PAIRS = (
    (Family.MASK_RCNN, Family.MASK_RCNN),
    (Family.MASK_RCNN, Family.FASTER_RCNN),
    (Family.FASTER_RCNN, Family.MASK_RCNN),
)
"""Student and teacher."""
OPTIONS: dict[MethodName, dict[str, Any]] = {MethodName.CKD: {"queue_size": 64}}


def detector(family: Family, seed: int, neck_channels: int = 16) -> Any:
    torch.manual_seed(seed)
    model = tiny("resnet18", neck_channels, family)
    torch.nn.init.normal_(model.roi_head.bbox_head.fc_cls.weight, std=0.3)
    return model


@pytest.mark.parametrize(("student_family", "teacher_family"), PAIRS)
@pytest.mark.parametrize("name", METHODS)
def test_a_loss_reaches_the_backbone_and_no_mask_head(
    name: MethodName,
    student_family: Family,
    teacher_family: Family,
    shapes: CocoSplit,
    batch: Batch,
) -> None:
    student, teacher = detector(student_family, 1), detector(teacher_family, 2)
    chosen = distiller_of(name, student, teacher, shapes, options=OPTIONS.get(name, {}))
    taps = student_step(student, batch).taps

    loss = chosen(taps)[name.value]
    loss.backward()

    assert torch.isfinite(loss)
    assert float(loss.detach()) > 0
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    masks = [p for name, p in student.named_parameters() if "mask_head" in name]
    assert all(parameter.grad is None for parameter in masks)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_taught_training_learns_masks_and_leaves_the_detection_losses_as_they_are(
    shapes: CocoSplit,
) -> None:
    student, teacher = detector(Family.MASK_RCNN, 1), detector(Family.FASTER_RCNN, 2, 24)
    distiller = distiller_of(MethodName.PROPOSAL_FEATURE, student, teacher, shapes)
    size = Resolution(64, 64)
    spec = TrainingSpec(epochs=1, batch_size=4, learning_rate=0.01, resolutions=(size,))
    before = student.roi_head.mask_head.conv_logits.weight.detach().clone()
    training = Training(student, shapes, spec, seed=0, distiller=distiller)

    assert training.undistilled_difference() == 0.0
    done = list(training.run())

    assert done[-1].finished_epoch is not None
    assert {"loss_mask", "proposal_feature"} <= set(done[-1].finished_epoch.losses)
    assert not torch.equal(student.roi_head.mask_head.conv_logits.weight, before)


def test_head_transfer_copies_the_mask_head(shapes: CocoSplit) -> None:
    student, teacher = detector(Family.MASK_RCNN, 1), detector(Family.MASK_RCNN, 2)
    distiller = distiller_of(MethodName.HEAD_TRANSFER, student, teacher, shapes)

    frozen = distiller.prepare(student)

    own, given = student.roi_head.mask_head, teacher.roi_head.mask_head
    assert torch.equal(own.conv_logits.weight, given.conv_logits.weight)
    assert student.roi_head in frozen
