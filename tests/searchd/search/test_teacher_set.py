"""Which teachers a search draws: subnets of a pool, registered teachers, or both."""

import random
from collections import Counter

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.search.sampling import mutate_subnet
from searchd.search.teacher_set import TeacherSet
from tests.searchd.search.scripted import SPACE

ONE, TWO = RegisteredTeacher(teacher="t-1"), RegisteredTeacher(teacher="t-2")


def teachers(
    space: SubnetSpace | None, *registered: RegisteredTeacher, share: float = 0.5
) -> TeacherSet:
    return TeacherSet(space=space, registered=registered, registered_share=share)


def kinds(drawn: list[Teacher]) -> Counter[str]:
    return Counter("subnet" if isinstance(each, Subnet) else each.teacher for each in drawn)


def test_the_largest_subnet_is_the_first_teacher_and_else_the_first_that_is_named() -> None:
    assert teachers(SPACE, ONE, TWO).first == SPACE.largest
    assert teachers(None, TWO, ONE).first == TWO


def test_registered_teachers_are_drawn_with_their_share_and_equally_likely() -> None:
    both, rng = teachers(SPACE, ONE, TWO, share=0.4), random.Random(0)
    drawn = kinds([both.draw(rng) for _ in range(5000)])
    assert drawn["subnet"] / 5000 == pytest.approx(0.6, abs=0.02)
    assert drawn["t-1"] / 5000 == pytest.approx(0.2, abs=0.02)


def test_a_change_of_teacher_has_the_share_too_and_never_keeps_the_teacher() -> None:
    both, rng = teachers(SPACE, ONE, TWO, share=0.4), random.Random(0)
    after_subnet = kinds([both.another(SPACE.largest, rng, 0.3) for _ in range(3000)])
    after_one = [both.another(ONE, rng, 0.3) for _ in range(3000)]
    assert after_subnet["subnet"] / 3000 == pytest.approx(0.6, abs=0.03)
    assert after_subnet["t-1"] / 3000 == pytest.approx(0.2, abs=0.03)
    assert kinds(after_one)["t-2"] / 3000 == pytest.approx(0.4, abs=0.03)
    assert ONE not in after_one


def test_a_subnet_is_mutated_as_with_a_pool_alone() -> None:
    alone = teachers(SPACE)
    for seed in range(20):
        expected = mutate_subnet(SPACE.largest, SPACE, random.Random(seed), 0.3)
        assert alone.another(SPACE.largest, random.Random(seed), 0.3) == expected
        assert alone.draw(random.Random(seed)) == SPACE.sample(random.Random(seed))


def test_the_only_registered_teacher_of_a_pool_is_followed_by_a_subnet() -> None:
    both, rng = teachers(SPACE, ONE, share=0.99), random.Random(0)
    assert all(isinstance(both.another(ONE, rng, 0.3), Subnet) for _ in range(50))


def test_without_a_pool_changes_move_among_the_registered_teachers() -> None:
    rng = random.Random(0)
    assert {teachers(None, ONE, TWO).another(ONE, rng, 0.3) for _ in range(20)} == {TWO}
    assert teachers(None, ONE).another(ONE, rng, 0.3) == ONE
    assert teachers(None, ONE).has_one_registered_alone
    assert not teachers(SPACE, ONE).has_one_registered_alone


def test_there_must_be_a_teacher() -> None:
    with pytest.raises(InvalidValueError, match="a pool, a registered teacher, or both"):
        teachers(None)
