from searchd.search.pareto import knee, pareto_front


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
