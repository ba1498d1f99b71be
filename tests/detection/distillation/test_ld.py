"""LD: the teacher's distributions of a box's sides, where GFL is trained to find an object."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.models.losses import KnowledgeDistillationKLDivLoss
from torch import Tensor

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.distillation.distribution_distance import by_side, side_divergences
from detection.distillation.ld import Ld, distance_iou, valuable_places
from detection.distillation.recorded_calls import recorded_calls
from detection.distillation.student import student_step
from detection.distillation.taps import (
    MatchedPredictions,
    TeacherTaps,
)
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import Tap
from searchd.domain.method_options import LdOptions
from searchd.domain.resolution import Resolution
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.known import taps
from tests.detection.distillation.teaching import student_of

MAIN_ALONE = LdOptions(valuable=0)


def logits(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def pair() -> tuple[Any, Any]:
    """A student and a teacher that say other things of every side."""
    student = student_of(Family.GFL)
    torch.manual_seed(2)
    teacher = tiny("resnet18", 24, Family.GFL).eval()
    for model in (student, teacher):
        torch.nn.init.normal_(model.bbox_head.gfl_reg.weight, std=0.3)
        torch.nn.init.normal_(model.bbox_head.gfl_cls.weight, std=0.3)
    return student, teacher


def taps_of(student: Any, teacher: Any, batch: Batch) -> tuple[Any, Any]:
    """What the method reads of both, in float64."""
    own = student_step(student, batch).taps
    others = TeacherTaps(teacher, own, frozenset({Tap.BOX_DISTRIBUTIONS}))
    matched = own.matched_predictions
    return taps(
        batch=batch,
        matched_predictions=replace(matched, logits=matched.logits.double()),
        box_distributions=own.box_distributions.double(),
        anchors=own.anchors,
    ), taps(box_distributions=others.box_distributions.double())


def test_divergences_equal_numpy() -> None:
    student, teacher = logits(0, 3, 4, 17), logits(1, 3, 4, 17)

    found = side_divergences(student, teacher, temperature=10)

    def softmax(values: Any) -> Any:
        exponentials = np.exp(values / 10)
        return exponentials / exponentials.sum()

    for place in range(3):
        total = 0.0
        for side in range(4):
            p, q = softmax(teacher[place, side].numpy()), softmax(student[place, side].numpy())
            total += 100 * float((p * np.log(p / q)).sum())
        assert float(found[place]) == pytest.approx(total / 4, rel=1e-9)


def test_where_objects_are_found_the_loss_equals_mmdets(batch: Batch) -> None:
    student, teacher = pair()
    own, others = taps_of(student, teacher, batch)
    with torch.no_grad(), recorded_calls(student.bbox_head, "get_targets") as targets:
        student.loss(batch.inputs, batch.samples)
        scores, sides = student.bbox_head(student.extract_feat(batch.inputs))
        soft = teacher.bbox_head(teacher.extract_feat(batch.inputs))[1]
    theirs = KnowledgeDistillationKLDivLoss(loss_weight=0.25, T=10)

    total, certain = torch.zeros(()), 0.0
    for number, labels in enumerate(targets[0].result[1]):  # as in mmdet's LDHead
        found = labels.flatten() < 4
        weights = rows(scores[number], 4)[found].sigmoid().amax(dim=1)
        total = total + theirs(
            rows(sides[number], 68)[found].view(-1, 17),
            rows(soft[number], 68)[found].view(-1, 17),
            weight=weights[:, None].expand(-1, 4).reshape(-1),
            avg_factor=4.0,
        )
        certain += float(weights.sum())

    # Theirs is the sum over places and, of 17 distances, the mean.
    expected = 17 * total / 0.25 / certain
    torch.testing.assert_close(Ld(MAIN_ALONE)(own, others).detach(), expected, rtol=1e-6, atol=0)


def rows(level: Tensor, values: int) -> Tensor:
    """N x V x H x W -> NHW x V, in float64."""
    return level.double().permute(0, 2, 3, 1).reshape(-1, values)


def test_distance_iou_of_boxes_that_can_be_checked_by_hand() -> None:
    anchors = torch.tensor([[0.0, 0.0, 4.0, 4.0], [4.0, 0.0, 8.0, 4.0], [2.0, 0.0, 6.0, 4.0]])
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]])

    found = distance_iou(anchors, boxes)[:, 0].tolist()

    # The centres are 4 and 2 apart; the boxes around both are 8 x 4 and 6 x 4.
    assert found == pytest.approx([1, -16 / 80, 8 / 24 - 4 / 52])


def test_valuable_places_are_near_an_object_and_find_none() -> None:
    shifts = torch.tensor([0.0, 2.0, 3.0, 4.0, 8.0, 20.0])
    anchors = torch.stack([shifts, 0 * shifts, shifts + 16, 0 * shifts + 16], dim=1)
    boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    overlaps = distance_iou(anchors, boxes)[:, 0]
    assert overlaps.tolist() == pytest.approx([1, 0.771, 0.670, 0.575, 0.256, -0.258], abs=1e-3)

    def chosen(ratio: float) -> list[list[int]]:
        matched = matched_at(image=[0, 0], places=[0, 2])
        image, place = valuable_places(anchors, matched, [boxes, boxes[:0]], ratio)
        return [image.tolist(), place.tolist()]

    # Not anchor 1, which is nearer than one that finds the object; 0.25 x 0.670 = 0.167.
    assert chosen(0.25) == [[0, 0], [3, 4]]
    assert chosen(0.5) == [[0], [3]]


def matched_at(image: list[int], places: list[int]) -> MatchedPredictions:
    """Places that find the first object of their image."""
    return MatchedPredictions(
        logits=torch.zeros(len(places), 2),
        boxes=torch.zeros(len(places), 4),
        image=torch.tensor(image),
        object=torch.zeros(len(places), dtype=torch.long),
        places=torch.tensor(places),
    )


def test_an_object_that_no_anchor_finds_has_no_valuable_places() -> None:
    anchors, boxes = torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.tensor([[2.0, 0.0, 18.0, 16.0]])
    nothing = matched_at(image=[], places=[])
    nothing = MatchedPredictions(
        logits=nothing.logits,
        boxes=nothing.boxes,
        image=nothing.image.long(),
        object=nothing.object,
        places=torch.zeros(0, dtype=torch.long),
    )

    image, place = valuable_places(anchors, nothing, [boxes], 0.25)

    assert (image.tolist(), place.tolist()) == ([], [])


def test_valuable_places_add_the_mean_of_their_divergences(batch: Batch) -> None:
    student, teacher = pair()
    own, others = taps_of(student, teacher, batch)
    objects = [sample.gt_instances.bboxes for sample in batch.samples]
    where = valuable_places(own.anchors, own.matched_predictions, objects, 0.25)

    main, both = Ld(MAIN_ALONE)(own, others), Ld(LdOptions(valuable=0.5))(own, others)

    found = side_divergences(own.box_distributions[where], others.box_distributions[where], 10)
    assert len(found) > 4
    torch.testing.assert_close(both - main, 0.5 * found.mean(), rtol=1e-9, atol=0)


def test_distributions_are_read_in_the_order_of_the_anchors(batch: Batch) -> None:
    student = student_of(Family.GFL)
    own: Any = student_step(student, batch).taps
    image, place = torch.tensor([1, 3]), torch.tensor([10, 66])
    dense = own._dense

    expected = dense.deltas[image, place].view(2, 4, 17)

    assert own.box_distributions.shape == (4, 64 + 16 + 4 + 1 + 1, 4, 17)
    assert torch.equal(own.box_distributions[image, place], expected)
    assert by_side([torch.arange(136.0).view(1, 68, 1, 2)])[0, 1, 3].tolist() == [
        2 * number + 1.0 for number in range(51, 68)
    ]


def test_gradient_reaches_the_student_and_not_the_teacher(batch: Batch) -> None:
    student, teacher = pair()
    own, others = taps_of(student, teacher, batch)

    Ld(LdOptions())(own, others).backward()

    assert student.bbox_head.gfl_reg.weight.grad.abs().max() > 0
    assert student.bbox_head.gfl_cls.weight.grad is None  # scores are weights alone
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_teacher_that_says_the_same_has_no_loss(batch: Batch) -> None:
    student, _ = pair()
    student.eval()
    own, others = taps_of(student, student, batch)

    assert float(Ld(LdOptions())(own, others).detach()) == pytest.approx(0, abs=1e-12)


def test_images_without_objects_have_no_loss_and_a_graph(batch_without_objects: Batch) -> None:
    student, teacher = pair()
    own, others = taps_of(student, teacher, batch_without_objects)

    loss = Ld(LdOptions())(own, others)

    loss.backward()
    assert float(loss.detach()) == 0


def test_a_teacher_of_other_cells_is_refused(batch: Batch, shapes: CocoSplit) -> None:
    student, teacher = student_of(Family.GFL), tiny("resnet18", 24, Family.GFL).eval()
    larger = make_batch(shapes, [0, 1, 2, 3], Resolution(96, 96), [False, True, False, True])
    own = student_step(student, batch).taps
    others = TeacherTaps(teacher, own, frozenset({Tap.BOX_DISTRIBUTIONS}), larger)

    with pytest.raises(ValueError, match="the teacher's cells are not the student's"):
        Ld(LdOptions())(own, others)


@pytest.mark.parametrize("family", [Family.ATSS, Family.FASTER_RCNN])
def test_heads_without_distributions_say_so(family: Family, batch: Batch) -> None:
    own = student_step(student_of(family), batch).taps

    with pytest.raises(AttributeError, match="predicts no distributions"):
        _ = own.box_distributions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": 0}, "temperature=0 must be positive"),
        ({"valuable": -1}, "valuable=-1 must be at least 0"),
        ({"valuable_ratio": 2}, "valuable_ratio=2 must lie between 0 and 1"),
    ],
)
def test_options_out_of_range_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        LdOptions(**changes)
