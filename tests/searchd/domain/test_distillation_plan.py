import random

import pytest

from searchd.domain.distillation_plan import Choice, Plan, sample_teachers, sampled_names, show
from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import SubnetSpace

SPACE = SubnetSpace(
    depths=((1, 2), (1,), (1,), (1,)), widths=((1.0, 1.5),) * 4, neck_channels=(16,)
)
LONE = SubnetSpace(depths=((1,),) * 4, widths=((1.0,),) * 4, neck_channels=(16,))
A, B = SPACE.smallest, SPACE.largest
CHOICES = (
    Choice(teacher="a", cost=0.5, reason="nearest"),
    Choice(teacher="b", cost=0.25, reason="best"),
)


def test_order_is_what_was_chosen() -> None:
    plan = Plan(teachers={"a": A, "b": B}, choices=CHOICES, stages=(("a",), ("a", "b")))
    assert plan.order == ("a", "b")


def test_a_teacher_named_twice_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"\['a', 'b'\] are the same"):
        Plan(teachers={"a": A, "b": A}, choices=CHOICES, stages=())


def test_stage_before_its_parent_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="stage a > b comes before its parent"):
        Plan(teachers={"a": A, "b": B}, choices=CHOICES, stages=(("a", "b"), ("a",)))


def test_stages_are_shown_by_their_teachers() -> None:
    assert show(("a", "b")) == "a > b"
    assert show((None, None)) == "no teacher > no teacher"


def test_sampled_teachers_are_the_extremes_and_random_ones() -> None:
    found = sample_teachers(SPACE, 4, seed=1)
    assert list(found) == sampled_names(4) == ["largest", "smallest", "sampled-1", "sampled-2"]
    assert (found["largest"], found["smallest"]) == (SPACE.largest, SPACE.smallest)
    assert len(set(found.values())) == 4
    assert found == sample_teachers(SPACE, 4, seed=1)
    assert found != sample_teachers(SPACE, 4, seed=2)
    assert list(sample_teachers(SPACE, 1, seed=1)) == ["largest"]


def test_more_teachers_than_a_pool_has_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="2 different teachers were asked for, but only 1"):
        sample_teachers(LONE, 2, seed=0)


def test_a_space_samples_its_extremes_first() -> None:
    assert SPACE.sample_with_extremes(2, random.Random(0)) == (SPACE.largest, SPACE.smallest)
    assert LONE.sample_with_extremes(3, random.Random(0)) == (LONE.largest,)
