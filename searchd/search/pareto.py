"""The Pareto front: the detectors that no other detector beats in both cost and accuracy."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front(Generic[T]):
    """The points that no other point dominates, as a value that is extended by one.

    A point dominates another one if its cost is not larger and its value is not smaller, and one of
    the two differs. Of equal points the first is kept. To decide about a point takes O(log n); only
    a point that joins the front copies it.
    """

    cost: Callable[[T], float]
    """Cost of a point, such as MACs; smaller is better."""
    value: Callable[[T], float]
    """Value of a point, such as AP; larger is better."""
    points: tuple[T, ...] = ()
    """By ascending cost, and so by ascending value."""

    def after(
        self, *points: T, is_preferred: Callable[[T, T], bool] = lambda _new, _old: False
    ) -> "Front[T]":
        """Return the front of these points too.

        Args:
            points: Further points.
            is_preferred: Whether a new point, the first argument, replaces an equal old one.
        """
        found = self
        for point in points:
            found = found._with(point, is_preferred)
        return found

    def best_within(self, cost: float) -> T | None:
        """Return the point with the largest value whose cost is at most `cost`, or None."""
        position = bisect_left(self.points, True, key=lambda point: self.cost(point) > cost)
        return self.points[position - 1] if position else None

    def __iter__(self) -> Iterator[T]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def _with(self, point: T, is_preferred: Callable[[T, T], bool]) -> "Front[T]":
        cost, value = self.cost(point), self.value(point)
        best = self.best_within(cost)
        if best is not None and self.value(best) >= value:
            is_equal = self.value(best) == value and self.cost(best) == cost
            if not (is_equal and is_preferred(point, best)):
                return self
        start = bisect_left(self.points, cost, key=self.cost)
        end = start
        while end < len(self.points) and self.value(self.points[end]) <= value:
            end += 1
        return replace(self, points=(*self.points[:start], point, *self.points[end:]))


def pareto_front(
    points: Iterable[T], *, cost: Callable[[T], float], value: Callable[[T], float]
) -> list[T]:
    """Return the points that are not dominated, by ascending cost; see `Front`.

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
