"""Admission: whether queued work may start now, and if not, for what reason it waits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.coordinator.capacity import NeedsCapacity
from searchd.coordinator.disk_guard import DiskGuard
from searchd.domain.capacity import FIXED, Growth, Node, unschedulable_reason
from searchd.domain.lifecycle import DatasetStatus, PoolStatus, TeacherStatus, WorkKind
from searchd.spec.needs import need_of
from searchd.store.base import now
from searchd.store.models import (
    DatasetRow,
    DeviceRow,
    PoolRow,
    RunRow,
    TeacherRow,
    WorkRow,
)
from searchd.store.resources import mask_fit, teacher_fit, teachers
from searchd.store.resources.searches import ACTIVE
from searchd.store.runs import usage
from searchd.store.work import queue

QUOTA_DAYS = 30
"""The days within which an owner may use the GPU-hours of the quota."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why queued work is not started now."""

    reason: str
    is_final: bool
    """Whether the work fails, because waiting would not help."""


class GpuQuota:
    """Limits the GPU-hours of each owner within `QUOTA_DAYS`.

    Args:
        gpu_hours: The limit; 0 if there is none.
        clock: The present time.
    """

    def __init__(self, gpu_hours: float = 0, clock: Callable[[], datetime] = now) -> None:
        self._gpu_hours = gpu_hours
        self._clock = clock

    def reason_to_wait(self, session: Session, run: RunRow) -> str | None:
        """Return why a run waits, in words that stay the same while its owner's other runs use
        more; None if it need not."""
        if self._gpu_hours == 0 or run.owner is None:
            return None
        since = self._clock() - timedelta(days=QUOTA_DAYS)
        if usage.gpu_hours(session, run.owner, since) < self._gpu_hours:
            return None
        return (
            f"waits: {run.owner} has used the {self._gpu_hours:g} GPU-hours that each owner has in "
            f"{QUOTA_DAYS} days (the operator sets SEARCHD_GPU_HOURS_PER_OWNER)"
        )


class Admission:
    """Decides what may start.

    Args:
        max_running_searches: Searches and distillations admitted at the same time.
        guard: Checks the disks that work writes to.
        growth: The nodes that may still join the cluster. Work that only they could hold starts.
        quota: Limits what each owner uses.
    """

    def __init__(
        self,
        max_running_searches: int,
        guard: DiskGuard,
        growth: Growth = FIXED,
        quota: GpuQuota | None = None,
    ) -> None:
        self._quota = quota or GpuQuota()
        self._max_running_searches = max_running_searches
        self._guard = guard
        self._growth = growth

    def refusal(self, session: Session, row: WorkRow, nodes: list[Node]) -> Refusal | None:
        """Return the first reason against starting queued work; None if it may start."""
        return next(self._refusals(session, row, nodes), None)

    def _refusals(self, session: Session, row: WorkRow, nodes: list[Node]) -> Iterator[Refusal]:
        resource = queue.resource(session, row)
        if isinstance(resource, DatasetRow):
            return
        if reason := self._guard.low_space_reason():
            yield Refusal(f"waits: {reason}", is_final=False)
        yield from _of_cluster(resource, nodes, self._growth)
        if isinstance(resource, DeviceRow):
            return
        yield from _of_dataset(session.get_one(DatasetRow, resource.dataset_id))
        if (reason := mask_fit.misfit(session, resource)) is not None:
            yield Refusal(reason, is_final=True)
        if isinstance(resource, TeacherRow | RunRow) and resource.pool_id is not None:
            # The driver of a search can train its base while the pool is still being trained.
            is_needed_now = isinstance(resource, TeacherRow)
            yield from _of_pool(session.get_one(PoolRow, resource.pool_id), is_needed_now)
        if isinstance(resource, RunRow):
            yield from _of_teachers(session, resource)
            yield from self._of_running_searches(session, resource)

    def _of_running_searches(self, session: Session, run: RunRow) -> Iterator[Refusal]:
        if run.status in ACTIVE:
            return  # admitted before its driver died
        if reason := self._quota.reason_to_wait(session, run):
            yield Refusal(reason, is_final=False)
        running = _running_searches(session)
        if running >= self._max_running_searches:
            limit = self._max_running_searches
            reason = f"waits: {running} searches are running, the maximum is {limit}"
            yield Refusal(reason, is_final=False)


def _of_cluster(resource: NeedsCapacity, nodes: list[Node], growth: Growth) -> Iterator[Refusal]:
    if not nodes:
        yield Refusal("waits: the cluster has no node yet", is_final=False)
    unschedulable = unschedulable_reason(need_of(resource.spec), nodes, growth)
    if unschedulable is not None:
        yield Refusal(unschedulable, is_final=True)


def _of_dataset(dataset: DatasetRow) -> Iterator[Refusal]:
    if dataset.status is DatasetStatus.CHECKING:
        yield Refusal(f"waits for data set {dataset.name} to be checked", is_final=False)
    if dataset.status is DatasetStatus.FAILED:
        reason = f"data set {dataset.name} failed its check: {dataset.status_reason}"
        yield Refusal(reason, is_final=True)


def _of_pool(pool: PoolRow, is_needed_now: bool) -> Iterator[Refusal]:
    if pool.status in (PoolStatus.FAILED, PoolStatus.CANCELLED):
        yield Refusal(f"pool {pool.name} is {pool.status}: {pool.status_reason}", is_final=True)
    elif is_needed_now and pool.status is not PoolStatus.READY:
        yield Refusal(f"waits for pool {pool.name}, which is {pool.status}", is_final=False)


def _of_teachers(session: Session, run: RunRow) -> Iterator[Refusal]:
    for teacher in teachers.of_run(session, run.spec).values():
        if teacher.status in (TeacherStatus.FAILED, TeacherStatus.CANCELLED):
            reason = f"teacher {teacher.name} is {teacher.status}: {teacher.status_reason}"
            yield Refusal(reason, is_final=True)
        elif teacher.status is TeacherStatus.CHECKING:
            yield Refusal(f"waits for teacher {teacher.name} to be evaluated", is_final=False)
        elif teacher.status is not TeacherStatus.READY:
            reason = f"waits for teacher {teacher.name}, which is {teacher.status}"
            yield Refusal(reason, is_final=False)
    misfit = teacher_fit.misfit(session, run)
    if misfit is not None:
        yield Refusal(misfit, is_final=True)


def _running_searches(session: Session) -> int:
    """Return the number of searches and distillations that were admitted: those that have started,
    and those whose first driver is starting."""
    active = session.scalars(select(RunRow.id).where(RunRow.status.in_(ACTIVE)))
    runs = (WorkKind.SEARCH, WorkKind.DISTILLATION)
    starting = {row.resource_id for row in queue.leased(session) if row.kind in runs}
    return len(starting.union(active))
