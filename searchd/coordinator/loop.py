"""The reconcile loop: leases work, starts its driver as a Ray job, watches it, starts it again.

The database says what is wanted and what is, the Jobs API what runs; each round brings them
together. Any number of rounds may be lost, and the process killed at any line. Knows no torch.
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

from searchd import settings
from searchd.coordinator.admission import Admission
from searchd.coordinator.capacity import CapacityMonitor, Unschedulable
from searchd.coordinator.disk_guard import DiskGuard, guarded_folders
from searchd.coordinator.jobs import Jobs, JobStatus, Node, RayJobs
from searchd.coordinator.sweeper import Sweeper
from searchd.domain.errors import ClusterUnreachableError, ConflictError
from searchd.domain.lifecycle import WorkStatus
from searchd.store import Database, Desired, Lease
from searchd.store.base import now
from searchd.store.models import (
    WorkRow,
)
from searchd.store.work import queue

log = logging.getLogger(__name__)

MAX_BACK_OFF_S = 60.0
"""Between two starts of a driver that crashes."""
_LONGEST_PAUSE_S = 5.0
"""Between two rounds while database or Ray do not answer."""


class Action(StrEnum):
    """What a round did with a piece of work.

    Attributes:
        STARTED: Leased, and its driver submitted.
        WAITS: It may not start yet; the resource says why.
        STOPPED: Its driver showed no sign of life, so Ray was asked to end it.
        REQUEUED: Its driver died; it will be started again.
        GAVE_UP: It failed for good.
        CANCELLED: A user wanted it killed; or cancelled, and its driver died.
        PAUSED: A user wanted it paused, and its driver died.
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
"""By where work is after its driver died, which depends on what the user wants."""


@dataclass(frozen=True, slots=True)
class CoordinatorEvent:
    """One thing that a round did."""

    action: Action
    work_id: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Heartbeat:
    """A sign of life of a driver."""

    shown: tuple[int, datetime | None]
    """Number and end of its lease, which it puts off as long as it lives."""
    seen_at: float
    """By our own watch."""


class Coordinator:
    """Brings database and cluster together, one `step` at a time.

    Args:
        database: Holds the work.
        jobs: Runs the drivers.
        lease_s: Seconds that a driver may show no sign of life.
        max_running_searches: Searches admitted at the same time.
        max_attempts: Crashes in a row after which work is given up.
        clock: The present time. It may be put forward or back: only dates for people and the
            earliest start of waiting work follow it.
        watch: Seconds that never go back, by which silent drivers are told.
        guard: Of the disks on which work writes.
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
        watch: Callable[[], float] = time.monotonic,
        guard: DiskGuard | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._lease_s = lease_s
        self._max_attempts = max_attempts
        self._clock = clock
        self._time_s = watch
        self._room = CapacityMonitor(database, watch)
        self._admission = Admission(max_running_searches, guard or DiskGuard((), min_free_gb=0))
        self._signs: dict[str, _Heartbeat] = {}
        """The last sign of life of every piece of leased work."""
        self._owner = f"coordinator {socket.gethostname()}:{os.getpid()}"

    def step(self) -> list[CoordinatorEvent]:
        """One round: look at everything that was leased, then start what may start.

        Returns:
            What it did, in order.

        Raises:
            ClusterUnreachableError: Ray does not answer. Nothing is decided without it.
        """
        with self._database.read() as session:
            leased = queue.leased(session)
            queued = queue.queued(session, now=self._clock())
        self._note_signs(leased)
        deeds = [self._watch(row) for row in leased]
        nodes = self._jobs.nodes() if queued or self._room.is_due(leased) else []
        deeds += [self._end_without_room(row) for row in self._room.lacking(leased, nodes)]
        deeds += [self._admit(row, nodes) for row in queued]
        return [deed for deed in deeds if deed is not None]

    def _note_signs(self, leased: Sequence[WorkRow]) -> None:
        """A driver that lives extends its lease. Whether it did is seen by the change and not by
        the date, which a clock that differs from ours may have written."""
        before, self._signs = self._signs, {}
        for row in leased:
            sign = _Heartbeat((row.lease, row.lease_expires_at), self._time_s())
            last = before.get(row.id, sign)
            self._signs[row.id] = last if last.shown == sign.shown else sign

    def _watch(self, row: WorkRow) -> CoordinatorEvent | None:
        """What is to be done about a driver that should be running."""
        lease = queue.lease_of(row)
        job_id = job_of(lease)
        if row.desired is Desired.KILL:
            return self._kill(row, lease)
        status = self._jobs.status(job_id)
        is_silent = self._time_s() - self._signs[row.id].seen_at >= self._lease_s
        if status.is_alive:
            if not is_silent:
                return None
            self._jobs.stop(job_id)
            log.warning("%s: no sign of life, asked Ray to end %s", row.id, job_id)
            return CoordinatorEvent(Action.STOPPED, row.id, "no sign of life")
        if status is JobStatus.MISSING and not is_silent:
            return None  # about to be submitted, or a driver that somebody started by hand
        return self._restart(row, lease, status)

    def _kill(self, row: WorkRow, lease: Lease) -> CoordinatorEvent | None:
        """End it without waiting for its driver, which may hang. Ray sends SIGKILL to what does not
        heed SIGTERM, and what a driver writes from now on is refused."""
        self._jobs.stop(job_of(lease))
        try:
            with self._database.write() as session:
                queue.stopped(session, lease)
        except ConflictError:
            return None  # the driver finished since we read the row
        return _done(Action.CANCELLED, row, "killed by a user")

    def _end_without_room(self, lacking: Unschedulable) -> CoordinatorEvent | None:
        """Fail work that waits for nodes which are gone."""
        row, lease = lacking.work, queue.lease_of(lacking.work)
        self._jobs.stop(job_of(lease))
        try:
            with self._database.write() as session:
                queue.give_up(session, lease, lacking.reason)
        except ConflictError:
            return None  # the driver finished since we read the row
        return _done(Action.GAVE_UP, row, lacking.reason)

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
            # Stale: the driver finished, or somebody requeued it, since we read the row.
            return None

    def _admit(self, row: WorkRow, nodes: list[Node]) -> CoordinatorEvent | None:
        try:
            with self._database.write() as session:
                refusal = self._admission.refusal(session, row, nodes)
                if refusal is None:
                    lease = queue.lease(
                        session, row.id, owner=self._owner, lease_s=self._lease_s, now=self._clock()
                    )
                elif refusal.for_good:
                    queue.give_up(session, queue.lease_of(row), refusal.reason)
                else:
                    queue.explain(session, row.id, refusal.reason)
                name = queue.resource(session, row).name
        except ConflictError:
            return None  # somebody moved it since we read the row; the next round sees
        if refusal is not None:
            action = Action.GAVE_UP if refusal.for_good else Action.WAITS
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
    """The id of the Ray job that a lease is carried out by."""
    return f"{lease.work_id}-{lease.number}"


def _done(action: Action, row: WorkRow, reason: str) -> CoordinatorEvent:
    log.info("%s: %s, %s", row.id, action, reason)
    return CoordinatorEvent(action, row.id, reason)


def main() -> None:
    """Run rounds until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    values = settings.load()
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with closing(Database(values.database)) as database:
        guard = DiskGuard(guarded_folders(values), values.min_free_gb)
        sweeper = Sweeper(database, values)
        coordinator = Coordinator(
            database,
            RayJobs(values.ray_dashboard_url),
            lease_s=values.lease_s,
            max_running_searches=values.max_running_searches,
            max_attempts=values.max_attempts,
            guard=guard,
        )
        _loop(coordinator, stop, values.poll_s, (lambda: guard.step(database), sweeper.step))


def _loop(
    coordinator: Coordinator,
    stop: threading.Event,
    poll_s: float,
    chores: Sequence[Callable[[], object]] = (),
) -> None:
    failures = 0
    while not stop.is_set():
        # A list: a chore that fails must not keep the others from their turn.
        succeeded = [_try(step) for step in (coordinator.step, *chores)]
        failures = 0 if all(succeeded) else failures + 1
        stop.wait(min(poll_s * 2**failures, max(poll_s, _LONGEST_PAUSE_S)))


def _try(step: Callable[[], object]) -> bool:
    try:
        step()
    except ClusterUnreachableError as error:
        log.warning("%s", error)
        return False
    except Exception:  # the outermost loop: nothing may end it but a signal
        log.exception("a round failed")
        return False
    return True
