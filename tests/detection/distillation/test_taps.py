"""A student's step is mmdet's own, and the teacher sees the student's regions."""

from typing import Any

import pytest
import torch
from mmdet.models import FasterRCNN
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps
from searchd.domain.detector import Family
from searchd.domain.method_description import Tap
from tests.detection.distillation.conftest import tiny

SHARED = (
    Tap.NECK,
    Tap.REGION_FEATURES,
    Tap.EMBEDDINGS,
    Tap.CLASS_LOGITS,
    Tap.BOX_DELTAS,
)
"""What both sides have, in a two-stage pair."""


@pytest.mark.parametrize("family", list(Family))
def test_losses_and_gradients_equal_mmdets_under_the_same_seed(
    family: Family, batch: Batch
) -> None:
    student = tiny("resnet18", 16, family)
    torch.manual_seed(7)
    expected, _ = student.parse_losses(student.loss(batch.inputs, batch.samples))
    expected.backward()
    gradients = [parameter.grad.clone() for parameter in student.parameters()]
    student.zero_grad()

    torch.manual_seed(7)
    losses = student_step(student, batch).losses
    total = torch.stack(list(losses.values())).sum()
    total.backward()

    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    for parameter, gradient in zip(student.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-7)


def test_nothing_is_computed_that_nobody_reads(student: FasterRCNN, batch: Batch) -> None:
    taps = student_step(student, batch).taps

    assert taps.computed == set()
    assert taps.neck is taps.neck
    assert taps.computed == {Tap.NECK}


def test_neck_levels_go_by_their_strides(student: FasterRCNN, batch: Batch) -> None:
    neck = student_step(student, batch).taps.neck

    assert {stride: tuple(level.shape) for stride, level in neck.items()} == {
        4: (4, 16, 16, 16),
        8: (4, 16, 8, 8),
        16: (4, 16, 4, 4),
        32: (4, 16, 2, 2),
        64: (4, 16, 1, 1),
    }


def test_regions_are_all_sampled_proposals_and_positives_overlap_objects(
    student: FasterRCNN, batch: Batch
) -> None:
    taps = student_step(student, batch).taps
    regions = taps.regions
    num_rois, num_positive = len(regions.rois), int(regions.is_positive.sum())

    assert taps.class_logits.shape == (num_rois, 5)
    assert taps.box_deltas.shape == (num_rois, 16)
    assert taps.embeddings.shape == (num_rois, 32)
    assert taps.region_features.shape == (num_positive, 16, 7, 7)
    assert taps.region_levels.shape == (4, num_positive, 16, 7, 7)
    # Every object is among its image's proposals, so every object has a positive.
    objects = [tuple(b) for s in batch.samples for b in s.gt_instances.bboxes.tolist()]
    positives = {tuple(roi) for roi in regions.rois[regions.is_positive][:, 1:].tolist()}
    assert set(objects) <= positives
    assert (regions.labels[regions.is_positive] < 4).all()
    assert (regions.labels[~regions.is_positive] == 4).all()


def test_each_regions_features_are_those_of_its_own_level(
    student: FasterRCNN, batch: Batch
) -> None:
    taps = student_step(student, batch).taps
    rois = taps.regions.compared
    extractor = student.roi_head.bbox_roi_extractor
    levels = extractor.map_roi_levels(rois, 4)

    own = taps.region_levels[levels, torch.arange(len(rois))]

    torch.testing.assert_close(own, taps.region_features)


@pytest.mark.parametrize("family", [family for family in Family if family.two_stage])
def test_matched_boxes_come_with_their_objects_and_a_gradient(family: Family, batch: Batch) -> None:
    student = tiny("resnet18", 16, family)
    taps = student_step(student, batch).taps
    matched, regions = taps.matched_predictions, taps.regions

    assert len(matched.boxes) == int(regions.is_positive.sum())
    labels = [
        int(batch.samples[image].gt_instances.labels[number])
        for image, number in zip(matched.image.tolist(), matched.object.tolist(), strict=True)
    ]
    assert labels == regions.labels[regions.is_positive].tolist()
    matched.boxes.sum().backward()
    head = student.roi_head.bbox_head
    head = head[0] if family.is_cascade else head
    assert head.fc_reg.weight.grad.abs().max() > 0


def test_teacher_that_equals_the_student_has_equal_taps(student: FasterRCNN, batch: Batch) -> None:
    student.eval()  # a teacher's BN is frozen; the comparison needs the student's so too
    taps = student_step(student, batch).taps

    teacher = TeacherTaps(student, taps, frozenset(Tap))

    for tap in SHARED:
        torch.testing.assert_close(getattr(teacher, tap), getattr(taps, tap))
    assert not any(level.requires_grad for level in teacher.neck.values())
    assert not teacher.class_logits.requires_grad


def test_teachers_head_does_not_run_when_only_features_are_read(
    student: FasterRCNN, teacher: FasterRCNN, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    taps = student_step(student, batch).taps
    every = TeacherTaps(teacher.eval(), taps, frozenset(Tap)).region_features
    monkeypatch.setattr(teacher.roi_head.bbox_head, "forward", _must_not_run)

    features = TeacherTaps(teacher, taps, frozenset({Tap.REGION_FEATURES})).region_features

    torch.testing.assert_close(features, every)


def test_teachers_backbone_runs_once_whatever_is_read(
    student: FasterRCNN, teacher: FasterRCNN, batch: Batch
) -> None:
    runs: list[Any] = []
    teacher.eval().backbone.register_forward_hook(lambda *call: runs.append(call))
    taps = student_step(student, batch).taps

    found = TeacherTaps(teacher, taps, frozenset(Tap))
    assert runs == []
    for tap in SHARED:
        getattr(found, tap)

    assert len(runs) == 1
    assert found.computed == set(SHARED)


def test_images_without_objects_have_no_positives_and_finite_losses(
    student: FasterRCNN, batch_without_objects: Batch
) -> None:
    step = student_step(student, batch_without_objects)
    torch.stack(list(step.losses.values())).sum().backward()

    assert not step.taps.regions.is_positive.any()
    assert step.taps.region_features.shape == (0, 16, 7, 7)
    assert step.taps.region_levels.shape == (4, 0, 16, 7, 7)
    assert step.taps.matched_predictions.boxes.shape == (0, 4)
    assert all(torch.isfinite(loss) for loss in step.losses.values())
    assert all(parameter.grad is not None for parameter in student.parameters())


def _must_not_run(*_: Tensor) -> Tensor:
    raise AssertionError("this part was not asked for")
