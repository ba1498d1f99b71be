"""Whether the cluster's nodes could ever hold what a piece of work needs. Knows no Ray."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from searchd.coordinator.jobs import Node
from searchd.store import Database
from searchd.store.models import DatasetRow, PoolRow, RunRow, TeacherRow, WorkRow
from searchd.store.work import queue

NeedsCapacity = PoolRow | TeacherRow | RunRow
LOOK_S = 30.0
"""Between two looks at the nodes for work that is under way."""
NODES_LOST_TIMEOUT_S = 900.0
"""For how long work that is under way waits for nodes to come back. Longer than a machine takes to
be replaced or to start again."""


def unschedulable_reason(resource: NeedsCapacity, nodes: Sequence[Node]) -> str | None:
    """Why the work can never run on these nodes, however idle they are; None if it can. Without
    any node nothing is known."""
    if isinstance(resource, RunRow):
        what, count = "trial", 1
        cpus, gpus = resource.spec.resources.cpus_per_trial, resource.spec.resources.gpus_per_trial
    elif isinstance(resource, TeacherRow):
        what, count = "teacher", 1
        cpus, gpus = resource.spec.cpus, resource.spec.gpus
    else:
        what, count = "worker", resource.spec.num_workers
        cpus, gpus = resource.spec.cpus_per_worker, resource.spec.gpus_per_worker
    places = sum(_places(node, cpus, gpus) for node in nodes)
    if not nodes or places >= count:
        return None
    has = "; ".join(f"{node.cpus:g} CPUs and {node.gpus:g} GPUs" for node in nodes)
    return (
        f"each {what} needs {cpus:g} CPUs and {gpus:g} GPUs, and the cluster has room for "
        f"{places} of {count}; its nodes have {has}"
    )


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """Work under way whose nodes are gone for good, as far as anybody can tell."""

    work: WorkRow
    reason: str


class CapacityMonitor:
    """Finds work that was started when there was room, and now waits for nodes that are gone.

    Args:
        database: Holds the work.
        watch: Seconds that never go back.
    """

    def __init__(self, database: Database, watch: Callable[[], float]) -> None:
        self._database = database
        self._time_s = watch
        self._looked_at = -math.inf
        self._lacking_since: dict[str, float] = {}

    def is_due(self, leased: Sequence[WorkRow]) -> bool:
        """Whether it is time to look at the nodes again."""
        return bool(leased) and self._time_s() - self._looked_at >= LOOK_S

    def lacking(self, leased: Sequence[WorkRow], nodes: Sequence[Node]) -> Iterator[Unschedulable]:
        """Work that has lacked room for too long.

        Args:
            leased: All that is under way.
            nodes: The cluster's; empty if nobody asked.
        """
        if not self.is_due(leased) or not nodes:
            return
        self._looked_at = self._time_s()
        before, self._lacking_since = self._lacking_since, {}
        for row, lack in self._shortages(leased, nodes):
            since = before.get(row.id, self._looked_at)
            self._lacking_since[row.id] = since
            if self._looked_at - since >= NODES_LOST_TIMEOUT_S:
                minutes = (self._looked_at - since) / 60
                yield Unschedulable(
                    row, f"for {minutes:.0f} minutes nodes have been missing: {lack}"
                )

    def _shortages(
        self, leased: Sequence[WorkRow], nodes: Sequence[Node]
    ) -> list[tuple[WorkRow, str]]:
        found = []
        with self._database.read() as session:
            for row in leased:
                resource = queue.resource(session, row)
                lack = (
                    None
                    if isinstance(resource, DatasetRow)
                    else unschedulable_reason(resource, nodes)
                )
                if lack is not None:
                    found.append((row, lack))
        return found


def _places(node: Node, cpus: float, gpus: float) -> int:
    """How many that need so much fit on the node."""
    by_gpus = node.gpus // gpus if gpus else math.inf
    return int(min(node.cpus // cpus, by_gpus))
