import json
from pathlib import Path

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.search.teacher_order import backward_greedy

GOLDEN = Path(__file__).parents[2] / "golden"
PAPER = json.loads((GOLDEN / "mtpd_costs.json").read_text())
EXPECTED = json.loads((GOLDEN / "mtpd_orders.json").read_text())["table8_expected"]


def papers_order(max_teachers: int) -> list[str]:
    return backward_greedy(
        student="S",
        performance=PAPER["teacher_ap_box"],
        costs=PAPER["costs"],
        max_teachers=max_teachers,
    )


@pytest.mark.parametrize("max_teachers", [1, 2])
def test_papers_costs_give_the_papers_order(max_teachers: int) -> None:
    expected = EXPECTED[str(max_teachers)]["algorithm1"]["order"]
    assert papers_order(max_teachers) == expected


def test_more_teachers_are_prepended_while_one_is_closer_than_the_student() -> None:
    assert papers_order(3) == ["I", "III", "IV"]
    assert papers_order(4) == ["I", "III", "IV"]  # II is no closer to I than the student is


def test_order_is_the_best_teacher_alone_when_the_student_is_the_closest() -> None:
    costs = {"s": {"a": 0.1, "b": 0.1}, "a": {"b": 0.1}, "b": {"a": 0.1}}
    order = backward_greedy(
        student="s", performance={"a": 0.3, "b": 0.2}, costs=costs, max_teachers=2
    )
    assert order == ["a"]


def test_ties_go_to_the_teacher_listed_first() -> None:
    costs = {
        "s": {"a": 1.0, "b": 1.0, "c": 1.0},
        "a": {"b": 0.5, "c": 0.5},
        "b": {"a": 0.5, "c": 0.5},
        "c": {"a": 0.5, "b": 0.5},
    }
    order = backward_greedy(
        student="s", performance={"a": 0.3, "b": 0.3, "c": 0.3}, costs=costs, max_teachers=2
    )
    assert order == ["b", "a"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_teachers": 0}, "max_teachers=0"),
        ({"performance": {}}, "names no teacher"),
        ({"student": "I"}, "'I' is also named as a teacher"),
        ({"student": "X"}, "cost from 'X' to 'IV' is missing"),
        ({"costs": {"S": {"IV": -1.0}}}, "is -1.0, must be >= 0"),
        ({"costs": {"S": {"IV": float("nan")}}}, "is nan"),
    ],
)
def test_impossible_input_is_refused(change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {
        "student": "S",
        "performance": PAPER["teacher_ap_box"],
        "costs": PAPER["costs"],
        "max_teachers": 2,
    }
    with pytest.raises(InvalidValueError, match=message):
        backward_greedy(**{**values, **change})  # type: ignore[arg-type]  # wrong on purpose
