"""The Pareto front: detectors that no other detector beats in both cost and accuracy."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def pareto_front(
    points: Iterable[T], *, cost: Callable[[T], float], value: Callable[[T], float]
) -> list[T]:
    """The points that are not dominated, by ascending cost.

    A point dominates another when it costs no more, is worth no less, and differs in one of the
    two. Of equal points the first is kept.

    Args:
        points: Any objects.
        cost: Smaller is better, such as MACs.
        value: Larger is better, such as AP.
    """
    front: list[T] = []
    for point in sorted(points, key=lambda p: (cost(p), -value(p))):
        if not front or value(point) > value(front[-1]):
            front.append(point)
    return front


def knee(front: Sequence[T], *, cost: Callable[[T], float], value: Callable[[T], float]) -> T:
    """The point where more cost stops to be worth it: the one farthest above the chord between the
    cheapest and the most accurate, with both axes scaled to their ranges. Of equals the more
    accurate, so that a front without a bend has its knee at its most accurate end.

    Args:
        front: By ascending cost; not empty.
        cost: As the front was made by.
        value: As the front was made by.
    """
    first, last = front[0], front[-1]
    if len(front) == 1:
        return first
    costs, values = cost(last) - cost(first), value(last) - value(first)

    def above_chord(point: T) -> float:
        return (value(point) - value(first)) / values - (cost(point) - cost(first)) / costs

    return max(reversed(front), key=above_chord)
