from searchd.search.pareto import pareto_front


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
