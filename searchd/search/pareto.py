"""The Pareto front: the detectors that no other detector beats in both cost and accuracy."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto_front(
    points: Iterable[T], *, cost: Callable[[T], float], value: Callable[[T], float]
) -> list[T]:
    """Return the points that are not dominated, by ascending cost.

    A point dominates another one if its cost is not larger and its value is not smaller, and one of
    the two differs. Of equal points the first is kept.

    Args:
        points: Any objects.
        cost: Cost of a point, such as MACs; smaller is better.
        value: Value of a point, such as AP; larger is better.
    """
    front: list[T] = []
    for point in sorted(points, key=lambda p: (cost(p), -value(p))):
        if not front or value(point) > value(front[-1]):
            front.append(point)
    return front


def knee(front: Sequence[T], *, cost: Callable[[T], float], value: Callable[[T], float]) -> T:
    """Return the knee of a front, beyond which additional cost brings little value.

    The knee is the point farthest above the chord between the cheapest and the most accurate point,
    with both axes scaled to their ranges. Of equally far points the most accurate one is returned,
    so a front without a bend has its knee at its most accurate end.

    Args:
        front: A front by ascending cost; not empty.
        cost: Cost of a point, as for `pareto_front`.
        value: Value of a point, as for `pareto_front`.
    """
    first, last = front[0], front[-1]
    if len(front) == 1:
        return first
    costs, values = cost(last) - cost(first), value(last) - value(first)

    def above_chord(point: T) -> float:
        return (value(point) - value(first)) / values - (cost(point) - cost(first)) / costs

    return max(reversed(front), key=above_chord)
