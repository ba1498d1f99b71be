"""Sharing between owners: whose waiting work comes next. Standard library only."""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
Owner = str | None


def fair_order(waiting: Iterable[tuple[T, Owner]], running: Mapping[Owner, int]) -> list[T]:
    """Return waiting work in the order in which it may start: each time, the next one is of the
    owner with the least work that runs or comes earlier in the order; of equals, the older one.

    Args:
        waiting: Work and its owner, oldest first.
        running: Number of running pieces of work by owner; an owner that is missing has none.
    """
    queues: dict[Owner, deque[tuple[int, T]]] = {}
    for place, (work, owner) in enumerate(waiting):
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
