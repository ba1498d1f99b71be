"""The student's step is mmdet's own, and the teacher sees the student's proposals."""

import pytest
import torch
from mmdet.models import FasterRCNN
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.taps import Tap, student_step, teacher_taps


def test_losses_and_gradients_equal_mmdets_under_the_same_seed(
    student: FasterRCNN, batch: Batch
) -> None:
    torch.manual_seed(7)
    expected, _ = student.parse_losses(student.loss(batch.inputs, batch.samples))
    expected.backward()
    gradients = [parameter.grad.clone() for parameter in student.parameters()]
    student.zero_grad()

    torch.manual_seed(7)
    losses = student_step(student, batch).losses
    total = torch.stack(list(losses.values())).sum()
    total.backward()

    assert set(losses) == {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"}
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    for parameter, gradient in zip(student.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)


def test_taps_cover_all_sampled_proposals_and_positives_overlap_objects(
    student: FasterRCNN, batch: Batch
) -> None:
    step = student_step(student, batch)
    num_rois, num_positive = len(step.rois), int(step.is_positive.sum())

    assert step.taps[Tap.CLASS_LOGITS].shape == (num_rois, 5)
    assert step.taps[Tap.BOX_DELTAS].shape == (num_rois, 16)
    assert step.taps[Tap.POSITIVE_FEATURES].shape == (num_positive, 16, 7, 7)
    # Every object is among its image's proposals, so every object has a positive.
    objects = [tuple(b) for s in batch.samples for b in s.gt_instances.bboxes.tolist()]
    positives = {tuple(roi) for roi in step.rois[step.is_positive][:, 1:].tolist()}
    assert set(objects) <= positives


def test_teacher_that_equals_the_student_has_equal_taps(student: FasterRCNN, batch: Batch) -> None:
    student.eval()  # a teacher's BN is frozen; the comparison needs the student's so too
    step = student_step(student, batch)

    taps = teacher_taps(student, batch.inputs, step, frozenset(Tap))

    for tap in Tap:
        torch.testing.assert_close(taps[tap], step.taps[tap])
        assert not taps[tap].requires_grad


def test_teachers_head_does_not_run_when_only_features_are_needed(
    student: FasterRCNN,
    teacher: FasterRCNN,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = student_step(student, batch)
    every = teacher_taps(teacher.eval(), batch.inputs, step, frozenset(Tap))
    monkeypatch.setattr(teacher.roi_head.bbox_head, "forward", _must_not_run)

    taps = teacher_taps(teacher, batch.inputs, step, frozenset({Tap.POSITIVE_FEATURES}))

    torch.testing.assert_close(taps[Tap.POSITIVE_FEATURES], every[Tap.POSITIVE_FEATURES])
    assert taps.class_logits is None
    assert taps.box_deltas is None


def test_teacher_does_not_run_when_nothing_is_needed(
    student: FasterRCNN,
    teacher: FasterRCNN,
    batch: Batch,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(teacher.backbone, "forward", _must_not_run)

    taps = teacher_taps(teacher, batch.inputs, student_step(student, batch), frozenset())

    assert taps.positive_features is None


def test_images_without_objects_have_no_positives_and_finite_losses(
    student: FasterRCNN, batch_without_objects: Batch
) -> None:
    step = student_step(student, batch_without_objects)
    torch.stack(list(step.losses.values())).sum().backward()

    assert not step.is_positive.any()
    assert step.taps[Tap.POSITIVE_FEATURES].shape == (0, 16, 7, 7)
    assert all(torch.isfinite(loss) for loss in step.losses.values())
    assert all(parameter.grad is not None for parameter in student.parameters())


def _must_not_run(*_: Tensor) -> Tensor:
    raise AssertionError("this part was not asked for")
