"""Orders and ranks are those of the paper's Tables 2, 7 and 8, and otherwise computed by hand."""

import json
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchd.domain.distillation_plan import Choice, OrderAlgorithm
from searchd.domain.errors import InvalidValueError
from searchd.search.teacher_order import Pool, all_orders, choose, prefix_tree, rank_of

GOLDEN = Path(__file__).parents[2] / "golden"
PAPER = json.loads((GOLDEN / "mtpd_costs.json").read_text())
ORDERS = json.loads((GOLDEN / "mtpd_orders.json").read_text())
TABLE_7 = {tuple(name.split("→")): ap for name, ap in ORDERS["table7_student_ap"].items()}
TEACHERS = ["I", "II", "III", "IV"]
PRINTED = {
    OrderAlgorithm.BACKWARD_GREEDY: "algorithm1",
    OrderAlgorithm.SHORTEST_PATH_SUM: "shortest_path_sum",
    OrderAlgorithm.SHORTEST_PATH_MAX: "shortest_path_max",
    OrderAlgorithm.FORWARD: "forward_construction",
}


def papers_pool(max_teachers: int = 2) -> Pool:
    return Pool(
        student="S",
        performance=PAPER["teacher_ap_box"],
        costs=PAPER["costs"],
        max_teachers=max_teachers,
    )


def order(algorithm: OrderAlgorithm, pool: Pool) -> tuple[str, ...]:
    return tuple(choice.teacher for choice in choose(algorithm, pool))


@pytest.mark.parametrize("algorithm", PRINTED)
@pytest.mark.parametrize("max_teachers", [1, 2])
def test_papers_costs_give_the_papers_order_and_rank(
    max_teachers: int, algorithm: OrderAlgorithm
) -> None:
    printed = ORDERS["table8_expected"][str(max_teachers)][PRINTED[algorithm]]
    compared = {o: TABLE_7[o] for o in all_orders(TEACHERS, max_teachers)}

    found = order(algorithm, papers_pool(max_teachers))

    assert list(found) == printed["order"]
    assert TABLE_7[found] == printed["student_ap"]
    assert rank_of(found, compared) == printed["rank"]
    assert len(compared) == printed["num_orders"]


@pytest.mark.parametrize(
    ("algorithm", "three", "four"),
    [
        # II is no closer to I than the student is: Algorithm 1 ends with three teachers.
        ("backward_greedy", "I III IV", "I III IV"),
        # 0.06 + 1.181 + 0.963 = 2.204 and 0.06 + 1.181 + 0.934 + 0.89 = 3.065
        ("shortest_path_sum", "II I IV", "II I III IV"),
        # Largest of 0.939, 0.934, 0.89; then of 0.06, 1.181, 0.934, 0.89
        ("shortest_path_max", "I III IV", "II I III IV"),
        ("forward", "II I III", "II I III IV"),
        ("exhaustive", "I III IV", "I III IV"),
    ],
)
def test_more_teachers_of_the_paper(algorithm: OrderAlgorithm, three: str, four: str) -> None:
    assert order(OrderAlgorithm(algorithm), papers_pool(3)) == tuple(three.split())
    assert order(OrderAlgorithm(algorithm), papers_pool(4)) == tuple(four.split())


@pytest.mark.parametrize("algorithm", OrderAlgorithm)
def test_a_pool_that_is_smaller_than_the_limit_is_enough(algorithm: OrderAlgorithm) -> None:
    assert order(algorithm, papers_pool(9)) == order(algorithm, papers_pool(4))


def test_every_choice_says_what_it_costs_and_why() -> None:
    assert choose(OrderAlgorithm.BACKWARD_GREEDY, papers_pool(4)) == [
        Choice(
            teacher="I",
            cost=0.939,
            reason="closest to III (0.934), and closer than the student (1.568)"
            "; no other teacher is closer to it than the student (0.939)",
        ),
        Choice(
            teacher="III",
            cost=0.934,
            reason="closest to IV (0.89), and closer than the student (1.254)",
        ),
        Choice(teacher="IV", cost=0.89, reason="the best teacher (AP 49.1)"),
    ]


@pytest.mark.parametrize(
    ("algorithm", "reason"),
    [
        (
            "shortest_path_sum",
            "on the path of 2 teachers to IV with the smallest sum of costs (1.461)",
        ),
        (
            "shortest_path_max",
            "on the path of 2 teachers to IV with the smallest largest cost (0.963)",
        ),
        ("forward", "nearest to S (0.06) of the unused teachers"),
        ("exhaustive", "of 4 orders to IV, its largest cost (0.963) is the smallest"),
    ],
)
def test_other_algorithms_give_their_own_reason(algorithm: str, reason: str) -> None:
    assert choose(OrderAlgorithm(algorithm), papers_pool())[0].reason == reason


def test_a_cost_that_no_choice_depended_on_may_be_unknown() -> None:
    pool = Pool(student="s", performance={"a": 0.3}, costs={}, max_teachers=1)
    assert choose(OrderAlgorithm.BACKWARD_GREEDY, pool) == [
        Choice(teacher="a", cost=None, reason="the best teacher (AP 0.3)")
    ]


def test_order_is_the_best_teacher_alone_when_the_student_is_the_closest() -> None:
    costs = {"s": {"a": 0.1, "b": 0.1}, "a": {"b": 0.1}, "b": {"a": 0.1}}
    pool = Pool(student="s", performance={"a": 0.3, "b": 0.2}, costs=costs, max_teachers=2)
    assert order(OrderAlgorithm.BACKWARD_GREEDY, pool) == ("a",)
    assert order(OrderAlgorithm.EXHAUSTIVE, pool) == ("a",)
    assert order(OrderAlgorithm.SHORTEST_PATH_SUM, pool) == ("b", "a")


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("backward_greedy", "b a"),
        ("shortest_path_sum", "b a"),
        ("shortest_path_max", "b a"),
        ("forward", "a b"),
        ("exhaustive", "b a"),
    ],
)
def test_ties_go_to_the_teacher_listed_first(algorithm: str, expected: str) -> None:
    costs = {
        "s": {"a": 1.0, "b": 0.5, "c": 0.5},
        "a": {"b": 0.5, "c": 0.5},
        "b": {"a": 0.5, "c": 0.5},
        "c": {"a": 0.5, "b": 0.5},
    }
    if algorithm == "forward":
        costs["s"]["a"] = 0.5
    pool = Pool(
        student="s", performance={"a": 0.3, "b": 0.3, "c": 0.3}, costs=costs, max_teachers=2
    )
    assert order(OrderAlgorithm(algorithm), pool) == tuple(expected.split())


def test_exhaustive_prefers_the_smaller_sum_among_equal_largest_costs() -> None:
    costs = {"s": {"a": 1.0, "b": 0.5}, "b": {"a": 1.0}}
    pool = Pool(student="s", performance={"a": 0.3, "b": 0.2}, costs=costs, max_teachers=2)
    assert order(OrderAlgorithm.EXHAUSTIVE, pool) == ("a",)


@given(
    values=st.lists(st.floats(0, 2), min_size=16, max_size=16),
    max_teachers=st.integers(1, 5),
)
def test_paths_are_the_best_of_all_orders_of_their_length(
    values: list[float], max_teachers: int
) -> None:
    names = ["S", *TEACHERS]
    pairs = [(a, b) for a in names for b in TEACHERS if a != b]
    costs: dict[str, dict[str, float]] = {name: {} for name in names}
    for (a, b), value in zip(pairs, values, strict=True):
        costs[a][b] = value
    pool = replace(papers_pool(max_teachers), costs=costs)
    allowed = [o for o in all_orders(TEACHERS, max_teachers) if o[-1] == "IV"]
    full = [o for o in allowed if len(o) == pool.size]

    by_sum, by_max = (
        pool.steps(order(OrderAlgorithm(f"shortest_path_{name}"), pool)) for name in ("sum", "max")
    )
    best = pool.steps(order(OrderAlgorithm.EXHAUSTIVE, pool))

    assert sum(by_sum) == min(sum(pool.steps(o)) for o in full)
    assert max(by_max) == min(max(pool.steps(o)) for o in full)
    assert max(best) == min(max(pool.steps(o)) for o in allowed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_teachers": 0}, "max_teachers=0"),
        ({"performance": {}}, "names no teacher"),
        ({"performance": {"I": 38.0, "II": float("nan")}}, "performance of 'II' is nan"),
        ({"student": "I"}, "'I' is also named as a teacher"),
    ],
)
def test_impossible_pools_are_refused(change: dict[str, object], message: str) -> None:
    values = {
        "student": "S",
        "performance": PAPER["teacher_ap_box"],
        "costs": PAPER["costs"],
        "max_teachers": 2,
    }
    with pytest.raises(InvalidValueError, match=message):
        Pool(**{**values, **change})


@pytest.mark.parametrize("algorithm", OrderAlgorithm)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"student": "X"}, "cost from 'X' to 'I+V?' is missing"),
        ({"costs": {"S": dict.fromkeys(TEACHERS, 0.5)}}, "cost from 'I+' to 'I+V?' is missing"),
        ({"costs": dict.fromkeys("S", dict.fromkeys(TEACHERS, -1.0))}, "is -1.0, must be >= 0"),
        ({"costs": dict.fromkeys("S", dict.fromkeys(TEACHERS, float("nan")))}, "is nan, must"),
    ],
)
def test_unusable_costs_are_named(
    algorithm: OrderAlgorithm, change: dict[str, object], message: str
) -> None:
    pool = replace(papers_pool(), **change)  # type: ignore[arg-type]  # of many types
    with pytest.raises(InvalidValueError, match=message):
        choose(algorithm, pool)


def test_too_many_paths_are_refused_before_they_are_compared() -> None:
    performance = {f"t{i}": 1.0 for i in range(30)}
    pool = Pool(student="s", performance=performance, costs={}, max_teachers=6)
    with pytest.raises(InvalidValueError, match=r"14,250,600 orders.*lower max_teachers"):
        choose(OrderAlgorithm.SHORTEST_PATH_SUM, pool)


def test_all_orders_of_the_papers_teachers_are_those_of_table_7() -> None:
    assert set(all_orders(TEACHERS, 4)) == set(TABLE_7)
    assert [len(all_orders(TEACHERS, k)) for k in (1, 2, 3, 4, 5)] == [4, 16, 40, 64, 64]


def test_orders_are_listed_by_length_and_then_as_the_teachers_are() -> None:
    assert all_orders(["b", "a"], 2) == [("b",), ("a",), ("b", "a"), ("a", "b")]


@pytest.mark.parametrize(
    ("teachers", "max_teachers", "message"),
    [
        (["a", "b"], 0, "max_teachers=0"),
        (["a", "b", "a"], 2, "must all be different"),
        ([f"t{i}" for i in range(9)], 9, "986,409 orders of teachers exceed"),
    ],
)
def test_impossible_studies_are_refused(
    teachers: list[str], max_teachers: int, message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        all_orders(teachers, max_teachers)


def test_an_order_without_a_measurement_has_no_rank() -> None:
    with pytest.raises(InvalidValueError, match="order I > II has no measured AP"):
        rank_of(("I", "II"), {("I",): 0.3})


def test_orders_share_the_stages_of_their_common_beginning() -> None:
    stages = prefix_tree([("c", "b", "d"), ("c", "b", "a"), ("c", "b"), ("b",)])
    assert stages == [("c",), ("c", "b"), ("c", "b", "d"), ("c", "b", "a"), ("b",)]


def test_a_study_of_all_orders_trains_each_order_once_and_not_every_stage_of_each() -> None:
    orders = all_orders(TEACHERS, 4)
    assert len(prefix_tree(orders)) == 64
    assert len(list(chain.from_iterable(orders))) == 4 * 1 + 12 * 2 + 24 * 3 + 24 * 4
