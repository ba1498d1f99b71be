"""The Pareto front: detectors that no other detector beats in both cost and accuracy."""

from collections.abc import Callable, Iterable
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
