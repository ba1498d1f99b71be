"""Whether the nodes of the cluster have the capacity for a piece of work. Does not use Ray."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from searchd.domain.capacity import Node, unschedulable_reason
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
"""Seconds for which leased work waits for lost nodes. Longer than it takes to replace or restart a
machine."""


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """Leased work that the cluster has had no capacity for longer than the timeout."""

    work: WorkRow
    reason: str


class CapacityMonitor:
    """Finds leased work that has become unschedulable because nodes were lost.

    Args:
        database: Holds the work.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float]) -> None:
        self._database = database
        self._monotonic = monotonic
        self._checked_at = -math.inf
        self._unschedulable_since: dict[str, float] = {}

    def is_due(self, leased: Sequence[WorkRow]) -> bool:
        """Return whether the next check is due."""
        return bool(leased) and self._monotonic() - self._checked_at >= CHECK_INTERVAL_S

    def unschedulable(
        self, leased: Sequence[WorkRow], nodes: Sequence[Node]
    ) -> Iterator[Unschedulable]:
        """Yield the work that has been unschedulable for `NODES_LOST_TIMEOUT_S`.

        Args:
            leased: All leased work.
            nodes: The nodes of the cluster; empty if they were not queried.
        """
        if not self.is_due(leased) or not nodes:
            return
        self._checked_at = self._monotonic()
        before, self._unschedulable_since = self._unschedulable_since, {}
        for row, reason in self._check(leased, nodes):
            since = before.get(row.id, self._checked_at)
            self._unschedulable_since[row.id] = since
            if self._checked_at - since >= NODES_LOST_TIMEOUT_S:
                minutes = (self._checked_at - since) / 60
                yield Unschedulable(
                    row, f"nodes have been missing for {minutes:.0f} minutes: {reason}"
                )

    def _check(self, leased: Sequence[WorkRow], nodes: Sequence[Node]) -> list[tuple[WorkRow, str]]:
        found = []
        with self._database.read() as session:
            for row in leased:
                resource = queue.resource(session, row)
                reason = (
                    None
                    if isinstance(resource, DatasetRow)
                    else unschedulable_reason(need_of(resource.spec), nodes)
                )
                if reason is not None:
                    found.append((row, reason))
        return found
