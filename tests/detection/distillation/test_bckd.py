"""BCKD: scores of each class by itself, and boxes, at every place of a dense head."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.bckd import FOCUS, Bckd, score_gaps
from detection.distillation.dense_distances import quality_focal_loss
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import Tap
from searchd.domain.method_options import BckdOptions
from searchd.domain.resolution import Resolution
from tests.detection.distillation.boxes import giou
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import (
    distiller_of,
    expect_two_strides,
    student_of,
    train,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

ONE_STAGE = [
    Family.RETINANET,
    Family.FCOS,
    Family.ATSS,
    Family.GFL,
    Family.VFNET,
    Family.TOOD,
]
SCORES = {
    Family.RETINANET: "retina_cls",
    Family.FCOS: "conv_cls",
    Family.ATSS: "atss_cls",
    Family.GFL: "gfl_cls",
    Family.VFNET: "vfnet_cls",
    Family.TOOD: "tood_cls",
}


def teacher_of(family: Family) -> Any:
    """A teacher with a wider neck that is sure of something, frozen."""
    torch.manual_seed(2)
    model = tiny("resnet18", 24, family).eval().requires_grad_(False)
    torch.nn.init.normal_(getattr(model.bbox_head, SCORES[family]).weight, std=0.3)
    if family is Family.FCOS:  # untrained, its boxes are empty
        torch.nn.init.constant_(model.bbox_head.conv_reg.bias, 2)
    if family is Family.GFL:
        expect_two_strides(model)
    return model


def taps_of(student: Any, teacher: Any, batch: Batch) -> tuple[Any, TeacherTaps]:
    own = student_step(student, batch).taps
    return own, TeacherTaps(teacher, own, frozenset({Tap.DENSE_OUTPUTS}))


def outputs(model: Any, batch: Batch) -> tuple[Any, Any]:
    """Class logits and deltas of a RetinaNet at all places: N x A x 4 each, for four classes."""
    with torch.no_grad():
        found = model.bbox_head(model.extract_feat(batch.inputs))
    scores, deltas = (
        torch.cat([level.permute(0, 2, 3, 1).reshape(4, -1, 4) for level in levels], dim=1)
        for levels in found
    )
    return scores, deltas


def test_the_loss_equals_its_formula(batch: Batch) -> None:
    student, teacher = student_of(Family.RETINANET), teacher_of(Family.RETINANET)
    own, others = taps_of(student, teacher, batch)

    loss = Bckd(BckdOptions(boxes=3))(own, others)

    sizes = [level.shape[-2:] for level in own.neck.values()]
    anchors = torch.cat(student.bbox_head.prior_generator.grid_priors(sizes, device="cpu"))
    (ours, our_deltas), (theirs, their_deltas) = (
        outputs(model, batch) for model in (student, teacher)
    )
    p, q = (1 / (1 + np.exp(-logits.double().numpy())) for logits in (ours, theirs))
    scores = (np.abs(q - p) * (-q * np.log(p) - (1 - q) * np.log(1 - p))).sum()
    boxes, decode = 0.0, student.bbox_head.bbox_coder.decode
    for image in range(4):
        one, other = (decode(anchors, deltas[image]) for deltas in (our_deltas, their_deltas))
        weights = np.abs(q[image] - p[image]).max(axis=1)
        boxes += float((weights * (1 - giou(one, other).numpy())).sum())
    found = len(own.matched_predictions.image)
    assert found > 4
    assert float(loss.detach()) == pytest.approx((scores + 3 * boxes) / found, rel=1e-4)


def test_scores_that_can_be_compared_by_hand() -> None:
    student = torch.zeros(1, 1, 2)  # both classes have 1/2
    teacher = torch.tensor([[[0.0, -np.log(3)]]])  # 1/2 and 1/4

    assert score_gaps(student, teacher).tolist() == [[pytest.approx(1 / 4)]]
    # of 1/4 against 1/2 the cross entropy is ln 2
    loss = quality_focal_loss(student, teacher, FOCUS)
    assert float(loss) == pytest.approx(np.log(2) / 4)


@pytest.mark.parametrize("family", ONE_STAGE)
def test_gradient_reaches_scores_and_boxes_of_the_student_alone(
    family: Family, batch: Batch
) -> None:
    student, teacher = student_of(family), teacher_of(family)
    own, others = taps_of(student, teacher, batch)

    Bckd(BckdOptions())(own, others).backward()

    head = student.bbox_head
    one_tower = family is Family.TOOD
    for tower in (head.inter_convs,) if one_tower else (head.cls_convs, head.reg_convs):
        assert tower[1].conv.weight.grad.abs().max() > 0
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_without_boxes_the_scores_alone_are_taught(batch: Batch) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    own, others = taps_of(student, teacher, batch)

    Bckd(BckdOptions(boxes=0))(own, others).backward()

    assert student.bbox_head.gfl_reg.weight.grad is None
    assert student.bbox_head.gfl_cls.weight.grad.abs().max() > 0


@pytest.mark.parametrize("family", ONE_STAGE)
def test_a_teacher_that_predicts_the_same_has_no_loss(family: Family, batch: Batch) -> None:
    teacher = teacher_of(family)
    teacher.bbox_head.train(family is Family.VFNET)  # in which it returns what its losses need
    own, others = taps_of(teacher, teacher, batch)
    teacher.bbox_head.eval()

    assert float(Bckd(BckdOptions())(own, others)) == pytest.approx(0, abs=1e-5)


def test_heads_of_two_families_with_one_place_in_a_cell_are_compared(batch: Batch) -> None:
    student, teacher = student_of(Family.FCOS), teacher_of(Family.ATSS)
    own, others = taps_of(student, teacher, batch)

    Bckd(BckdOptions())(own, others).backward()

    assert student.bbox_head.conv_reg.weight.grad.abs().max() > 0


def test_images_without_objects_are_taught_too(batch_without_objects: Batch) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    own, others = taps_of(student, teacher, batch_without_objects)

    loss: Tensor = Bckd(BckdOptions())(own, others)

    assert float(loss.detach()) > 0


def test_training_lowers_the_loss(shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    chosen = distiller_of(MethodName.BCKD, student, teacher, shapes)

    losses = train(student, shapes, 14, chosen, detection_losses=False)["bckd"]

    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_a_teacher_of_other_cells_is_refused(batch: Batch, shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), teacher_of(Family.GFL)
    larger = make_batch(shapes, [0, 1, 2, 3], Resolution(96, 96), [False, True, False, True])
    own = student_step(student, batch).taps
    others = TeacherTaps(teacher, own, frozenset({Tap.DENSE_OUTPUTS}), larger)

    with pytest.raises(ValueError, match="the teacher's cells are not the student's"):
        Bckd(BckdOptions())(own, others)


def test_two_stage_students_have_no_dense_outputs(batch: Batch) -> None:
    own = student_step(student_of(Family.FASTER_RCNN), batch).taps

    with pytest.raises(AttributeError, match="a two-stage student has no dense head"):
        _ = own.dense_outputs


def test_a_negative_weight_of_boxes_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="boxes=-1 must be at least 0"):
        BckdOptions(boxes=-1)
