"""Whether the nodes of the cluster have the capacity for a piece of work. Does not use Ray."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from searchd.domain.capacity import (
    FIXED,
    Growth,
    Need,
    Node,
    unschedulable_reason,
    waiting_reason,
)
from searchd.spec.needs import need_of
from searchd.store import Database
from searchd.store.models import (
    DatasetRow,
    DeviceRow,
    ExportRow,
    PoolRow,
    RunRow,
    TeacherRow,
    WorkRow,
)
from searchd.store.work import queue

NeedsCapacity = PoolRow | TeacherRow | ExportRow | DeviceRow | RunRow
CHECK_INTERVAL_S = 30.0
"""Seconds between two checks of whether the nodes still have the capacity for leased work."""
NODES_LOST_TIMEOUT_S = 900.0
"""Seconds for which leased work waits for lost nodes of a cluster that no other node may join.
Longer than it takes to restart a machine."""


FOUND_AGAIN = "the cluster has the nodes that were missing"
"""What is told of leased work that no longer waits for nodes."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Leased work that the nodes have no capacity for, or have again."""

    work: WorkRow
    reason: str
    is_final: bool
    """Whether the work fails, because no node that could hold it may join."""


class CapacityMonitor:
    """Finds leased work that waits for nodes, because they were lost or have not joined yet.

    Args:
        database: Holds the work.
        monotonic: A monotonic clock, in seconds.
        growth: The nodes that may still join. Work that only they could hold waits for as long as
            it takes.
    """

    def __init__(
        self, database: Database, monotonic: Callable[[], float], growth: Growth = FIXED
    ) -> None:
        self._database = database
        self._monotonic = monotonic
        self._growth = growth
        self._checked_at = -math.inf
        self._short_since: dict[str, float] = {}

    def is_due(self, leased: Sequence[WorkRow]) -> bool:
        """Return whether the next check is due."""
        return bool(leased) and self._monotonic() - self._checked_at >= CHECK_INTERVAL_S

    def shortages(self, leased: Sequence[WorkRow], nodes: Sequence[Node]) -> Iterator[Shortage]:
        """Yield the work whose shortage is to be told, or that fails by it.

        Args:
            leased: All leased work.
            nodes: The nodes of the cluster; empty if they were not queried.
        """
        if not self.is_due(leased) or not nodes:
            return
        self._checked_at = self._monotonic()
        before, self._short_since = self._short_since, {}
        for row, need in self._needs(leased):
            reason = waiting_reason(need, nodes)
            if reason is not None:
                self._short_since[row.id] = before.get(row.id, self._checked_at)
                yield from self._judged(row, need, nodes, reason)
            elif row.id in before:
                yield Shortage(row, FOUND_AGAIN, is_final=False)

    def _judged(
        self, row: WorkRow, need: Need, nodes: Sequence[Node], waits: str
    ) -> Iterator[Shortage]:
        """Yield why the work waits, or fails once no node that could hold it has come back."""
        reason = unschedulable_reason(need, nodes, self._growth)
        if reason is None:
            yield Shortage(row, waits, is_final=False)
            return
        waited_s = self._checked_at - self._short_since[row.id]
        if waited_s >= NODES_LOST_TIMEOUT_S:
            text = f"nodes have been missing for {waited_s / 60:.0f} minutes: {reason}"
            yield Shortage(row, text, is_final=True)

    def _needs(self, leased: Sequence[WorkRow]) -> list[tuple[WorkRow, Need]]:
        with self._database.read() as session:
            found = [(row, queue.resource(session, row)) for row in leased]
            return [
                (row, need_of(resource.spec))
                for row, resource in found
                if not isinstance(resource, DatasetRow)
            ]
