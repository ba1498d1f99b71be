"""Teachers as values."""

from dataclasses import replace

import pytest

from searchd.domain.distillation_plan import Baseline
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import (
    RegisteredTeacher,
    SimultaneousTeachers,
    TeacherCandidates,
    teachers_of,
)

SWIN = RegisteredTeacher(teacher="t-7f3k2m")
SMALL = Subnet(depths=(1, 1, 1, 1), widths=(1.0, 1.0, 1.0, 1.0), neck_channels=32)
DEEP = replace(SMALL, depths=(2, 2, 2, 2))


def test_one_teacher_teaches_alone_and_several_at_once() -> None:
    both = SimultaneousTeachers(teachers=(SMALL, SWIN), definition="mean_of_losses")
    assert teachers_of(SWIN) == (SWIN,)
    assert teachers_of(both) == (SMALL, SWIN)
    assert teachers_of(TeacherCandidates(candidates=(DEEP, SMALL))) == (DEEP, SMALL)


def test_teachers_are_shown_in_words() -> None:
    both = SimultaneousTeachers(teachers=(SMALL, SWIN), definition="average_features")
    assert str(both) == "d1-1-1-1 w1/1/1/1 n32 + t-7f3k2m (average features)"
    assert str(TeacherCandidates(candidates=(SMALL, DEEP))) == "nearest of 2"


@pytest.mark.parametrize("teachers", [(), (SWIN,), (SWIN, SWIN)])
def test_fewer_than_two_teachers_are_not_simultaneous(teachers: tuple[RegisteredTeacher]) -> None:
    with pytest.raises(InvalidValueError, match="at least two and different"):
        SimultaneousTeachers(teachers=teachers, definition="mean_of_losses")


@pytest.mark.parametrize("candidates", [(), (SMALL,), (DEEP, DEEP)])
def test_there_is_a_choice_among_two_different_candidates_at_least(
    candidates: tuple[Subnet, ...],
) -> None:
    with pytest.raises(InvalidValueError, match="at least two and different"):
        TeacherCandidates(candidates=candidates)


def test_two_baselines_have_simultaneous_teachers() -> None:
    assert [baseline.definition for baseline in Baseline] == [
        None,
        None,
        "mean_of_losses",
        "average_features",
    ]
