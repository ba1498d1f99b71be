"""Owners take turns."""

from searchd.domain.sharing import fair_order


def test_owners_take_turns_and_the_older_work_comes_first() -> None:
    waiting = [("a1", "ann"), ("a2", "ann"), ("a3", "ann"), ("b1", "bob"), ("b2", "bob")]

    assert fair_order(waiting, {}) == ["a1", "b1", "a2", "b2", "a3"]


def test_whoever_runs_most_comes_last() -> None:
    waiting = [("a1", "ann"), ("b1", "bob"), ("b2", "bob"), ("n1", None)]

    assert fair_order(waiting, {"ann": 2, None: 1}) == ["b1", "b2", "n1", "a1"]


PRIORITIES = {"a2": 1, "a3": 5, "b2": 1000}


def priority(work: str) -> int:
    return PRIORITIES.get(work, 0)


def test_the_work_of_one_owner_comes_by_priority_and_then_by_age() -> None:
    waiting = [("a1", "ann"), ("a2", "ann"), ("a3", "ann"), ("a4", "ann")]

    assert fair_order(waiting, {}, priority) == ["a3", "a2", "a1", "a4"]


def test_a_high_priority_takes_no_turn_from_another_owner() -> None:
    waiting = [("a1", "ann"), ("b1", "bob"), ("b2", "bob")]

    assert fair_order(waiting, {}, priority) == ["a1", "b2", "b1"]
    assert fair_order(waiting, {"bob": 1}, priority) == ["a1", "b2", "b1"]


def test_the_work_of_one_owner_keeps_its_order() -> None:
    assert fair_order([("1", "ann"), ("2", "ann"), ("3", "ann")], {"bob": 7}) == ["1", "2", "3"]
