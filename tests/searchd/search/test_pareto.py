from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.search.pareto import Front, knee, pareto_front
from tests.strength import examples


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return pareto_front(points, cost=lambda p: p[0], value=lambda p: p[1])


def test_dominated_points_are_left_out() -> None:
    assert front([(3, 0.5), (1, 0.2), (2, 0.1), (2, 0.4)]) == [(1, 0.2), (2, 0.4), (3, 0.5)]


def test_of_equal_cost_only_the_better_stays() -> None:
    assert front([(1, 0.2), (1, 0.3)]) == [(1, 0.3)]


def test_of_equal_points_one_stays() -> None:
    assert front([(1, 0.2), (1, 0.2)]) == [(1, 0.2)]


def test_front_of_nothing_is_empty() -> None:
    assert front([]) == []


def knee_of(points: list[tuple[float, float]]) -> tuple[float, float]:
    return knee(points, cost=lambda p: p[0], value=lambda p: p[1])


def test_knee_is_farthest_above_the_chord_whatever_the_units() -> None:
    # Above the chord from (0, 0) to (10, 1): (1, 0.5) by 0.4, (5, 0.8) by 0.3.
    points = [(0.0, 0.0), (1.0, 0.5), (5.0, 0.8), (10.0, 1.0)]
    assert knee_of(points) == (1.0, 0.5)
    assert knee_of([(1e9 * cost, ap / 100) for cost, ap in points]) == (1e9, 0.005)


def test_front_without_a_bend_has_its_knee_at_its_most_accurate_end() -> None:
    assert knee_of([(1.0, 0.5)]) == (1.0, 0.5)
    assert knee_of([(1.0, 0.25), (2.0, 0.5)]) == (2.0, 0.5)
    assert knee_of([(0.0, 0.0), (5.0, 0.25), (10.0, 1.0)]) == (10.0, 1.0)


@settings(max_examples=examples(20, 300), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_front_that_grows_by_one_point_is_that_of_all_points(pairs: list[tuple[int, int]]) -> None:
    points = [(*pair, number) for number, pair in enumerate(pairs)]
    grown: Front[tuple[int, int, int]] = Front(cost=lambda p: p[0], value=lambda p: p[1])
    brute: list[tuple[int, int, int]] = []
    for count, point in enumerate(points, start=1):
        grown = grown.after(point)
        brute = pareto_front(points[:count], cost=lambda p: p[0], value=lambda p: p[1])
        assert list(grown) == brute
    for cost in range(6):
        within = [each for each in brute if each[0] <= cost]
        assert grown.best_within(cost) == (within[-1] if within else None)
