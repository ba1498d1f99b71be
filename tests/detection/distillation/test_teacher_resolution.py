"""A teacher that sees the images at another size is read at the student's places."""

from typing import Any

import pytest
import torch
from torch import Tensor

from detection.data.batches import Batch, make_batches
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.distillation.taps import TeacherTaps, region_features
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.method_description import Tap
from searchd.domain.resolution import Resolution
from tests.detection.distillation.crop_classifier import stored
from tests.detection.distillation.every_method import (
    CELL_BY_CELL,
    RANDOM,
    WITHOUT_LOSS,
    method_of,
    student_for,
    teacher_for,
)

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

LOW, HIGH = Resolution(72, 72), Resolution(160, 160)
"""The first is padded to 96 pixels, the second is not."""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    return stored(tmp_path_factory.mktemp("classifier"))


@pytest.fixture
def views(shapes: CocoSplit) -> tuple[Batch, Batch]:
    """What the student sees, and what the teacher sees."""
    found = make_batches(shapes, [0, 1, 2, 3], [LOW, HIGH], [False, True, False, True])
    return found[LOW], found[HIGH]


def places(batch: Batch, stride: int) -> Tensor:
    """N x 16 x H x W: each cell's centre, x and y in turn, in pixels of the original image."""
    scale = batch.samples[0].scale_factor[0]
    sides = (torch.arange(-(-side // stride)) + 0.5 for side in batch.inputs.shape[-2:])
    y, x = torch.meshgrid(*sides, indexing="ij")
    return (torch.stack([x, y]) * stride / scale).repeat(4, 8, 1, 1)


def shows_places(teacher: Any, *views: Batch) -> None:
    """Let a teacher's features tell where in the original image they are."""
    found = {batch.inputs.shape: [places(batch, s) for s in (4, 8, 16, 32, 64)] for batch in views}
    teacher.extract_feat = lambda inputs: found[inputs.shape]


def test_each_cell_of_the_student_meets_the_teachers_features_of_its_own_place(
    views: tuple[Batch, Batch], student: Any
) -> None:
    low, high = views
    teacher = teacher_for(2)
    shows_places(teacher, high)
    taps = student_step(student, low).taps

    neck = TeacherTaps(teacher, taps, frozenset({Tap.NECK}), high).neck

    assert list(neck) == list(taps.neck)
    for stride, level in neck.items():
        own, theirs = places(low, stride), places(high, stride)
        assert level.shape == taps.neck[stride].shape == own.shape
        # Beyond the teacher's outermost centres its map is continued.
        expected = own.clamp(theirs.min(), theirs.max())
        torch.testing.assert_close(level, expected, atol=1e-3, rtol=1e-4)


def test_each_region_of_the_student_meets_the_teachers_features_of_its_own_place(
    views: tuple[Batch, Batch], student: Any
) -> None:
    low, high = views
    taps = student_step(student, low).taps
    teacher, needed = teacher_for(2), frozenset({Tap.REGION_FEATURES})
    shows_places(teacher, low, high)

    theirs = TeacherTaps(teacher, taps, needed, high).region_features

    _, x1, y1, x2, y2 = (taps.regions.compared / low.samples[0].scale_factor[0]).unbind(dim=1)
    # Where the maps are not continued: between the outermost centres of the coarser levels.
    is_inside = (torch.minimum(x1, y1) > 8) & (torch.maximum(x2, y2) < 56)
    assert int(is_inside.sum()) > 2
    centres = theirs[is_inside, :2].mean(dim=(2, 3))
    expected = torch.stack([x1 + x2, y1 + y2], dim=1)[is_inside] / 2
    torch.testing.assert_close(centres, expected, atol=0.1, rtol=0)


def test_a_teachers_head_reads_the_regions_in_its_own_pixels(
    views: tuple[Batch, Batch], student: Any
) -> None:
    low, high = views
    taps, teacher = student_step(student, low).taps, teacher_for(2).eval()

    found = TeacherTaps(teacher, taps, frozenset(Tap), high)

    rois = taps.regions.rois.clone()
    rois[:, 1:] *= 160 / 72
    with torch.no_grad():
        features = teacher.extract_feat(high.inputs)
        outputs = teacher.roi_head._bbox_forward(features, rois)
        pooled = region_features(teacher.roi_head, features, rois[taps.regions.is_compared])
    torch.testing.assert_close(found.class_logits, outputs["cls_score"])
    torch.testing.assert_close(found.box_deltas, outputs["bbox_pred"])
    torch.testing.assert_close(found.region_features, pooled)
    assert len(found.embeddings) == len(rois)


def test_methods_on_whole_maps_find_the_teachers_as_it_made_them(
    views: tuple[Batch, Batch], student: Any
) -> None:
    low, high = views
    teacher = teacher_for(2).eval()

    own = TeacherTaps(teacher, student_step(student, low).taps, frozenset({Tap.NECK}), high)

    with torch.no_grad():
        expected = teacher.extract_feat(high.inputs)
    assert list(own.own_neck) == [4, 8, 16, 32, 64]
    assert own.own_neck[8].shape[-2:] == (20, 20)
    assert all(torch.equal(a, b) for a, b in zip(own.own_neck.values(), expected, strict=True))


def test_levels_that_the_student_has_not_are_left_out(views: tuple[Batch, Batch]) -> None:
    low, high = views
    student, teacher = teacher_for(1, 16, Family.RETINANET), teacher_for(2)
    taps = student_step(student, low).taps

    assert list(TeacherTaps(teacher, taps, frozenset({Tap.NECK}), high).neck) == [8, 16, 32, 64]


@pytest.mark.parametrize("name", sorted(set(MethodName) - WITHOUT_LOSS - CELL_BY_CELL))
def test_every_method_reads_a_teacher_that_sees_more(
    name: MethodName, classifier: str, shapes: CocoSplit, views: tuple[Batch, Batch]
) -> None:
    student, teacher = student_for(name), teacher_for(2, 24)
    torch.manual_seed(5)
    chosen = Distiller((method_of(name, classifier),), teacher, pair_of(student, teacher, shapes))
    taps = student_step(student, views[0]).taps

    same, more = chosen(taps), chosen(taps, views[1])

    assert list(more) == list(same)
    torch.stack(list(more.values())).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in chosen.parameters())
    assert student.backbone.conv1.weight.grad.any()
    if name not in RANDOM:  # only of the teacher's features is it that they differ
        reads_teacher = bool(chosen.needed)
        assert torch.equal(more[name.value], same[name.value]) != reads_teacher


def test_a_teacher_that_sees_the_students_own_batch_is_left_as_it_is(
    views: tuple[Batch, Batch], student: Any
) -> None:
    taps, teacher = student_step(student, views[0]).taps, teacher_for(2).eval()

    plain = TeacherTaps(teacher, taps, frozenset(Tap))
    given = TeacherTaps(teacher, taps, frozenset(Tap), views[0])

    assert all(torch.equal(given.neck[stride], level) for stride, level in plain.neck.items())
    assert torch.equal(given.region_features, plain.region_features)
