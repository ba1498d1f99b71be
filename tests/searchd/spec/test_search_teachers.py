"""The teachers of a search as users write them."""

from typing import Any

import pytest
from pydantic import ValidationError

from searchd.spec import SearchSpec, TeachersSpec

BOTH = {"pool": "teachers", "registered": ["strong", "swin"]}


def search(**given: Any) -> SearchSpec:
    return SearchSpec.model_validate({"name": "first", "dataset": "shapes", **given})


def test_a_pool_alone_is_the_same_however_it_is_written() -> None:
    short, long = search(pool="teachers"), search(teachers={"pool": "teachers"})
    assert short == long
    assert (long.pool, long.teachers, long.registered) == ("teachers", None, ())


def test_pool_and_registered_teachers_are_the_same_however_they_are_written() -> None:
    inside = search(teachers=BOTH)
    beside = search(pool="teachers", teachers={"registered": ["strong", "swin"]})
    assert inside == beside == search(pool="teachers", teachers=BOTH)
    assert (inside.pool, inside.registered) == ("teachers", ("strong", "swin"))
    assert inside.teachers == TeachersSpec(registered=("strong", "swin"), registered_share=0.5)
    assert SearchSpec.model_validate_json(inside.model_dump_json()) == inside


def test_registered_teachers_alone_need_no_pool() -> None:
    alone = search(teachers={"registered": ["strong"]})
    assert (alone.pool, alone.registered) == (None, ("strong",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no teachers: give pool, or teachers with a pool, registered teachers, or both"),
        ({"teachers": {}}, "no teachers: give pool"),
        (
            {"pool": "other", "teachers": BOTH},
            "pool=other and teachers.pool=teachers differ; give the pool once",
        ),
        (
            {"pool": "teachers", "teachers": {"registered": ["strong", "strong"]}},
            "registered names a teacher twice: strong, strong",
        ),
        (
            {"teachers": {"registered": ["strong"]}, "strategy": {"kind": "pool_search"}},
            "pool_search evaluates the subnets of a pool and has no teachers: give pool alone",
        ),
        (
            {"teachers": BOTH, "strategy": {"kind": "pool_search"}},
            "pool_search evaluates the subnets of a pool and has no teachers: give pool alone",
        ),
        (
            {"teachers": BOTH, "strategy": {"teacher_policy": "nearest"}},
            "teacher_policy=nearest compares subnets of a pool: give pool alone, or use mutate or",
        ),
        (
            {"teachers": BOTH, "strategy": {"teacher_policy": "fixed"}},
            "strategy.teacher_policy=fixed has one teacher for all trials: give pool alone, or one",
        ),
        (
            {"teachers": {"registered": ["a", "b"]}, "strategy": {"kind": "pipeline"}},
            "strategy.kind=pipeline has one teacher for all trials",
        ),
        ({"teachers": {**BOTH, "registered_share": 1.0}}, "less than 1"),
    ],
)
def test_teachers_that_a_strategy_cannot_use_are_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        search(**given)
    assert message in str(refused.value)
    assert refused.value.error_count() == 1


@pytest.mark.parametrize("strategy", [{"teacher_policy": "fixed"}, {"kind": "pipeline"}])
def test_one_registered_teacher_may_teach_all_trials(strategy: dict[str, str]) -> None:
    spec = search(teachers={"registered": ["strong"]}, strategy=strategy)
    assert spec.registered == ("strong",)
