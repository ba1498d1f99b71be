"""Sharing between owners: whose waiting work comes next. Standard library only."""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
Owner = str | None


def fair_order(
    waiting: Iterable[tuple[T, Owner]],
    running: Mapping[Owner, int],
    priority: Callable[[T], int] = lambda _: 0,
) -> list[T]:
    """Return waiting work in the order in which it may start: each time, the next one is of the
    owner with the least work that runs or comes earlier in the order; of equals, the older one.
    Priorities order the work of one owner, and give no owner an advantage over another.

    Args:
        waiting: Work and its owner, oldest first.
        running: Number of running pieces of work by owner; an owner that is missing has none.
        priority: Returns the priority of work; of the work of one owner, the highest comes first.
    """
    queues: dict[Owner, deque[tuple[int, T]]] = {}
    for place, work, owner in _by_priority(waiting, priority):
        queues.setdefault(owner, deque()).append((place, work))
    turns = [(running.get(owner, 0), queue[0][0], owner) for owner, queue in queues.items()]
    heapq.heapify(turns)
    ordered = []
    while turns:
        count, _, owner = heapq.heappop(turns)
        ordered.append(queues[owner].popleft()[1])
        if queues[owner]:
            heapq.heappush(turns, (count + 1, queues[owner][0][0], owner))
    return ordered


def _by_priority(
    waiting: Iterable[tuple[T, Owner]], priority: Callable[[T], int]
) -> list[tuple[int, T, Owner]]:
    """Return work with its place by age, highest priority first, and of equals the oldest."""
    placed = [(place, work, owner) for place, (work, owner) in enumerate(waiting)]
    return sorted(placed, key=lambda each: -priority(each[1]))
