"""The reconcile loop: leases work, starts its driver as a Ray job, monitors and restarts it.

The database has the desired and the recorded state, the Jobs API the state of the cluster; each
round reconciles them. The process may be killed at any line and any number of rounds may be missed.
Does not import torch.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import FrameType

from sqlalchemy.orm import Session

from searchd import logs, settings
from searchd.coordinator.admission import Admission, GpuQuota
from searchd.coordinator.capacity import CapacityMonitor, Shortage
from searchd.coordinator.disk_guard import DiskGuard, guarded_folders
from searchd.coordinator.jobs import Jobs, JobStatus, Node, RayJobs
from searchd.coordinator.round_counter import RoundCounter
from searchd.coordinator.sweeper import Sweeper
from searchd.coordinator.webhooks import WebhookSender
from searchd.domain.capacity import FIXED, Growth
from searchd.domain.errors import ClusterUnreachableError, ConflictError
from searchd.domain.lifecycle import WorkStatus
from searchd.domain.sharing import fair_order
from searchd.store import Database, Desired, Lease
from searchd.store.base import now
from searchd.store.models import (
    WorkRow,
)
from searchd.store.runs import usage
from searchd.store.work import queue

log = logging.getLogger(__name__)

MAX_BACK_OFF_S = 60.0
"""Maximum number of seconds between two starts of a driver that crashes."""
_MAX_ROUND_BACK_OFF_S = 5.0
"""Maximum number of seconds between two rounds while database or Ray do not answer."""


START_S = 300.0
"""Seconds that the process of a driver may take to start. On a machine where much else starts, as
when many nodes join, that is longer than a lease, and ending it then would go on for ever."""


class Action(StrEnum):
    """What a round did with a piece of work.

    Attributes:
        STARTED: The work was leased, and its driver submitted.
        WAITS: The work may not start yet; `status_reason` of the resource says why.
        STOPPED: Its driver had no heartbeat, so Ray was asked to end it.
        REQUEUED: Its driver died; another will be started.
        GAVE_UP: The work failed for good.
        CANCELLED: A user asked to kill it; or to cancel it, and its driver died.
        PAUSED: It was to be paused, and its driver died.
    """

    STARTED = "started"
    WAITS = "waits"
    STOPPED = "stopped"
    REQUEUED = "requeued"
    GAVE_UP = "gave up"
    CANCELLED = "cancelled"
    PAUSED = "paused"


_REQUEUED = {
    WorkStatus.QUEUED: Action.REQUEUED,
    WorkStatus.PAUSED: Action.PAUSED,
    WorkStatus.DONE: Action.CANCELLED,
}
"""The action by the status of work after its driver died, which depends on what is desired."""


@dataclass(frozen=True, slots=True)
class CoordinatorEvent:
    """One action of a round."""

    action: Action
    work_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    """The last heartbeat of a driver."""

    lease: tuple[int, datetime | None]
    """Number and expiry of its lease. Each heartbeat of the driver extends the lease."""
    seen_at: float
    """When the coordinator first saw this expiry, in seconds of its monotonic clock."""
    is_first: bool
    """Whether it is that of the lease itself, or the first that this coordinator saw, so that the
    driver may still be starting."""

    def is_due(self, at: float, limit_s: float) -> bool:
        """Return whether another one should have come by now.

        Args:
            at: The present time of the monotonic clock.
            limit_s: Largest number of seconds between two heartbeats.
        """
        return at - self.seen_at >= (max(limit_s, START_S) if self.is_first else limit_s)


class Coordinator:
    """Reconciles database and cluster, one `step` at a time.

    Args:
        database: Holds the work.
        jobs: Runs the drivers.
        lease_s: Seconds without a heartbeat after which a driver counts as dead. Before its first
            one it has at least `START_S`.
        max_running_searches: Maximum number of searches and distillations admitted at the same
            time.
        max_attempts: Number of consecutive crashes after which work fails.
        clock: The present time. It may be put forward or back: only displayed dates and the
            earliest start of requeued work depend on it.
        monotonic: A monotonic clock, in seconds, for missing heartbeats.
        guard: Checks the disks that work writes to.
        growth: The nodes that may still join the cluster. Work that only they could hold starts,
            so that an autoscaler sees the demand, and waits.
        gpu_hours_per_owner: GPU-hours of an owner within `QUOTA_DAYS`, above which no further
            search or distillation of the owner starts. 0: there is no limit.
    """

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        *,
        lease_s: float,
        max_running_searches: int,
        max_attempts: int,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
        guard: DiskGuard | None = None,
        growth: Growth = FIXED,
        gpu_hours_per_owner: float = 0,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._clock = clock
        self._monotonic = monotonic
        self._capacity = CapacityMonitor(database, monotonic, growth)
        guard = guard or DiskGuard((), min_free_gb=0)
        quota = GpuQuota(gpu_hours_per_owner, clock)
        self._admission = Admission(max_running_searches, guard, growth, quota)
        self._heartbeats: dict[str, _Heartbeat] = {}
        """The last heartbeat of the driver of every piece of leased work."""
        self._owner = f"coordinator {socket.gethostname()}:{os.getpid()}"

    def step(self) -> list[CoordinatorEvent]:
        """Run one round: check all leased work, then start the work that may start.

        Returns:
            The actions of the round, in order.

        Raises:
            ClusterUnreachableError: Ray does not answer. Nothing is decided without it.
        """
        with self._database.read() as session:
            leased = queue.leased(session)
            queued = _in_turn(session, queue.queued(session, now=self._clock()))
        self._note_heartbeats(leased)
        events = [self._check(row) for row in leased]
        nodes = self._jobs.nodes() if queued or self._capacity.is_due(leased) else []
        events += [self._tell(found) for found in self._capacity.shortages(leased, nodes)]
        events += [self._admit(row, nodes) for row in queued]
        return [event for event in events if event is not None]

    def _note_heartbeats(self, leased: Sequence[WorkRow]) -> None:
        """Record which drivers have extended their leases. A change of the expiry is a heartbeat,
        whatever its date is: the clock of the driver's machine may differ from ours."""
        before, self._heartbeats = self._heartbeats, {}
        for row in leased:
            lease, last = (row.lease, row.lease_expires_at), before.get(row.id)
            if last is None or last.lease != lease:
                is_first = last is None or last.lease[0] != row.lease
                last = _Heartbeat(lease, self._monotonic(), is_first)
            self._heartbeats[row.id] = last

    def _check(self, row: WorkRow) -> CoordinatorEvent | None:
        """Check the driver of leased work: end it if it has no heartbeat, replace it if it died."""
        lease = queue.lease_of(row)
        job_id = job_of(lease)
        if row.desired is Desired.KILL:
            return self._kill(row, lease)
        status = self._jobs.status(job_id)
        last, at = self._heartbeats[row.id], self._monotonic()
        if status.is_alive:
            if not last.is_due(at, self._lease_s):
                return None
            self._jobs.stop(job_id)
            log.warning(
                "%s: no heartbeat, asked Ray to end %s", row.id, job_id, extra={"work": row.id}
            )
            return CoordinatorEvent(Action.STOPPED, row.id, "no heartbeat")
        if status is JobStatus.MISSING and at - last.seen_at < self._lease_s:
            return None  # about to be submitted, or a driver that was started by hand
        return self._restart(row, lease, status)

    def _kill(self, row: WorkRow, lease: Lease) -> CoordinatorEvent | None:
        """Cancel work without waiting for its driver, which may hang. Ray sends SIGKILL to a
        process that ignores SIGTERM, and everything that the driver still writes is refused."""
        self._jobs.stop(job_of(lease))
        try:
            with self._database.write() as session:
                queue.stopped(session, lease)
        except ConflictError:
            return None  # the driver finished since we read the row
        return _done(Action.CANCELLED, row, "killed by a user")

    def _tell(self, found: Shortage) -> CoordinatorEvent | None:
        """Say that work waits for nodes, or fail it if they cannot come."""
        row, lease = found.work, queue.lease_of(found.work)
        if found.is_final:
            self._jobs.stop(job_of(lease))
        try:
            with self._database.write() as session:
                if found.is_final:
                    queue.give_up(session, lease, found.reason)
                else:
                    queue.note(session, lease, found.reason)
        except ConflictError:
            return None  # the driver finished since we read the row
        return _done(Action.GAVE_UP, row, found.reason) if found.is_final else None

    def _restart(self, row: WorkRow, lease: Lease, status: JobStatus) -> CoordinatorEvent | None:
        reason = f"the driver exited without finishing (job {job_of(lease)} is {status})"
        try:
            if row.attempts >= self._max_attempts and row.desired is Desired.RUN:
                tail = self._jobs.log_tail(job_of(lease))
                reason = f"given up after {row.attempts} attempts: {reason}; its log ends:\n{tail}"
                with self._database.write() as session:
                    queue.give_up(session, lease, reason)
                return _done(Action.GAVE_UP, row, reason)
            delay_s = min(2.0 ** max(row.attempts - 1, 0), MAX_BACK_OFF_S)
            with self._database.write() as session:
                to = queue.requeue(session, lease, reason, delay_s=delay_s, now=self._clock())
            if to is WorkStatus.QUEUED:
                reason = f"{reason}; restarts in {delay_s:g} s"
            return _done(_REQUEUED[to], row, reason)
        except ConflictError:
            # The driver has finished the work, or it was requeued, since we read the row.
            return None

    def _admit(self, row: WorkRow, nodes: list[Node]) -> CoordinatorEvent | None:
        try:
            with self._database.write() as session:
                refusal = self._admission.refusal(session, row, nodes)
                if refusal is None:
                    lease = queue.lease(
                        session, row.id, owner=self._owner, lease_s=self._lease_s, now=self._clock()
                    )
                elif refusal.is_final:
                    queue.give_up(session, queue.lease_of(row), refusal.reason)
                else:
                    queue.explain(session, row.id, refusal.reason)
                name = queue.resource(session, row).name
        except ConflictError:
            return None  # its status has changed since we read the row; the next round decides
        if refusal is not None:
            action = Action.GAVE_UP if refusal.is_final else Action.WAITS
            return CoordinatorEvent(action, row.id, refusal.reason)
        return None if lease is None else self._submit(row, lease, name)

    def _submit(self, row: WorkRow, lease: Lease, name: str) -> CoordinatorEvent:
        command = ["python", "-m", "searchd.driver", f"--work={row.id}", f"--lease={lease.number}"]
        # Ray's dashboard shows "job_name" as the job's name.
        metadata = {
            str(row.kind): row.resource_id,
            "name": name,
            "job_name": f"{row.kind} {name}",
        }
        try:
            self._jobs.submit(job_of(lease), command, metadata)
        except ClusterUnreachableError as error:
            with self._database.write() as session:
                queue.requeue(session, lease, str(error), delay_s=1.0, now=self._clock())
            return _done(Action.REQUEUED, row, str(error))
        return _done(Action.STARTED, row, f"job {job_of(lease)}")


def job_of(lease: Lease) -> str:
    """Return the id of the Ray job that is submitted for a lease."""
    return f"{lease.work_id}-{lease.number}"


def _in_turn(session: Session, queued: Sequence[WorkRow]) -> list[WorkRow]:
    """Return queued work in the order in which owners take turns, each by its priorities. Only
    searches and distillations are limited in number, so only they wait for each other."""
    owners = usage.owners(session, [row.resource_id for row in queued])
    runs = [(row, owners[row.resource_id]) for row in queued if row.resource_id in owners]
    others = [row for row in queued if row.resource_id not in owners]
    running = usage.running_by_owner(session)
    return [*others, *fair_order(runs, running, lambda row: row.priority)]


def _done(action: Action, row: WorkRow, reason: str) -> CoordinatorEvent:
    log.info("%s: %s, %s", row.id, action, reason, extra={"work": row.id})
    return CoordinatorEvent(action, row.id, reason)


def main() -> None:
    """Run rounds until SIGTERM or SIGINT."""
    values = settings.load()
    logs.configure(values.log_format)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with (
        closing(Database(values.database)) as database,
        closing(WebhookSender(database, allow_private=values.webhook_private_networks)) as sender,
    ):
        guard = DiskGuard(guarded_folders(values), values.min_free_gb)
        sweeper = Sweeper(database, values)
        coordinator = Coordinator(
            database,
            RayJobs(values.ray_dashboard_url),
            lease_s=values.lease_s,
            max_running_searches=values.max_running_searches,
            max_attempts=values.max_attempts,
            guard=guard,
            growth=values.growth,
            gpu_hours_per_owner=values.gpu_hours_per_owner,
        )
        rounds = RoundCounter(database)
        maintenance = (lambda: guard.step(database), sweeper.step, sender.step, rounds.step)
        _loop(coordinator, stop, values.poll_s, maintenance, rounds)


def _loop(
    coordinator: Coordinator,
    stop: threading.Event,
    poll_s: float,
    maintenance: Sequence[Callable[[], object]] = (),
    rounds: RoundCounter | None = None,
) -> None:
    failures = 0
    while not stop.is_set():
        began = time.monotonic()
        # A list and not a generator: every step runs, also after one that has failed.
        succeeded = [_try(step) for step in (coordinator.step, *maintenance)]
        failures = 0 if all(succeeded) else failures + 1
        if rounds is not None:
            rounds.note(time.monotonic() - began, succeeded=all(succeeded))
        stop.wait(min(poll_s * 2**failures, max(poll_s, _MAX_ROUND_BACK_OFF_S)))


def _try(step: Callable[[], object]) -> bool:
    try:
        step()
    except ClusterUnreachableError as error:
        log.warning("%s", error)
        return False
    except Exception:  # the outermost loop: only a signal may end it
        log.exception("a round failed")
        return False
    return True
