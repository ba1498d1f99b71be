"""SGFI's choice of levels over regions."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from detection.analysis.level_histogram import LevelMatches, level_matches
from detection.data.batches import Batch
from detection.distillation.sgfi import Sgfi
from searchd.domain.detector import Family
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import student_of


class Choosing(Sgfi):
    """Always likes one of the student's levels best."""

    def __init__(self, level: int) -> None:
        super().__init__(16, 24)
        self.level = level

    def level_weights(self, adapted: Tensor, target: Tensor) -> Tensor:
        weights = torch.full((len(adapted), len(target)), 0.1)
        weights[self.level] = 0.6
        return weights


@pytest.fixture
def teacher() -> Any:
    torch.manual_seed(2)
    return tiny("resnet18", 24).eval()


@pytest.mark.parametrize(
    ("family", "strides"),
    [(Family.FASTER_RCNN, (4, 8, 16, 32)), (Family.RETINANET, (8, 16, 32, 64, 128))],
)
def test_every_compared_region_is_counted_at_the_best_level(
    family: Family, strides: tuple[int, ...], teacher: Any, batches: Sequence[Batch]
) -> None:
    found = level_matches(student_of(family), teacher, Choosing(2), batches)
    assert found.student_strides == strides
    assert found.teacher_strides == (4, 8, 16, 32)
    columns = [sum(column) for column in zip(*found.counts, strict=True)]
    assert columns[2] == sum(columns) > 20
    assert sum(found.offsets.values()) == columns[2]


def test_the_teachers_level_is_the_one_that_its_region_is_pooled_from(
    teacher: Any, batches: Sequence[Batch]
) -> None:
    """Objects below 112 * finest_scale / 56 pixels come from the first level, as all do here when
    the finest scale is large."""
    teacher.roi_head.bbox_roi_extractor.finest_scale = 64
    found = level_matches(student_of(Family.FASTER_RCNN), teacher, Choosing(1), batches)
    assert [sum(row) > 0 for row in found.counts] == [True, False, False, False]
    assert {offset for offset, number in found.offsets.items() if number} == {1}


def test_trained_embeddings_choose_and_leave_the_student_as_it_was(
    teacher: Any, batches: Sequence[Batch]
) -> None:
    student = student_of(Family.FASTER_RCNN)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    sgfi = Sgfi(16, 24)
    one, again = (level_matches(student, teacher, sgfi, batches) for _ in range(2))
    assert one == again
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_offsets_are_differences_of_level_numbers() -> None:
    matches = LevelMatches(
        teacher_strides=(4, 8), student_strides=(8, 16, 32), counts=((5, 1, 0), (7, 0, 2))
    )
    assert matches.offsets == {-1: 7, 0: 5, 1: 3, 2: 0}
