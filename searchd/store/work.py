"""Work: queued, leased to one driver, extended while it lives, finished or given up.

A coordinator leases and requeues; a driver extends and finishes. `desired` is written by the API
only (`ask_to_cancel`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, NotFoundError
from searchd.domain.lifecycle import (
    AnyStatus,
    DatasetStatus,
    PoolStatus,
    SearchStatus,
    TrialStatus,
    WorkKind,
    WorkStatus,
    is_final,
)
from searchd.store import events
from searchd.store.lease import Lease, hold, lock, locked
from searchd.store.models import (
    DatasetRow,
    Desired,
    PoolRow,
    SearchRow,
    TrialRow,
    WorkRow,
)
from searchd.store.models.resources import AnyResource, table_of
from searchd.store.transition import transition

ResourceStatus = DatasetStatus | PoolStatus | SearchStatus

LONGEST_DELAY = timedelta(minutes=2)
"""Work that is to wait for longer was requeued by a clock that has been put back since."""


def add(session: Session, kind: WorkKind, resource_id: str) -> WorkRow:
    """Queue the work that serves a new resource."""
    work = WorkRow(id=f"{kind}-{resource_id}", kind=kind, resource_id=resource_id)
    session.add(work)
    return work


def get(session: Session, work_id: str) -> WorkRow:
    """
    Raises:
        NotFoundError: There is no such work.
    """
    work = session.get(WorkRow, work_id)
    if work is None:
        raise NotFoundError(f"work {work_id} does not exist")
    return work


def of_resource(session: Session, resource_id: str) -> WorkRow:
    """The work that serves a data set, pool or search."""
    return session.scalars(select(WorkRow).where(WorkRow.resource_id == resource_id)).one()


def resource(session: Session, work: WorkRow) -> AnyResource:
    """The data set, pool or search that the work serves."""
    return cast(AnyResource, session.get_one(table_of(work.resource_id), work.resource_id))


def queued(session: Session, *, now: datetime) -> Sequence[WorkRow]:
    """Work that may be leased now, oldest first."""
    return session.scalars(
        select(WorkRow)
        .where(
            WorkRow.status == WorkStatus.QUEUED,
            or_(WorkRow.not_before <= now, WorkRow.not_before > now + LONGEST_DELAY),
        )
        .order_by(WorkRow.created_at, WorkRow.id)
    ).all()


def leased(session: Session) -> Sequence[WorkRow]:
    """Work that a driver holds, or held when it died, oldest first."""
    return session.scalars(
        select(WorkRow)
        .where(WorkRow.status == WorkStatus.LEASED)
        .order_by(WorkRow.created_at, WorkRow.id)
    ).all()


def expired(session: Session, *, now: datetime) -> Sequence[WorkRow]:
    """Leased work whose driver showed no sign of life in time."""
    return [w for w in leased(session) if w.lease_expires_at is None or w.lease_expires_at <= now]


def lease_of(work: WorkRow) -> Lease:
    """The last lease granted on the work."""
    return Lease(work.id, work.lease)


def lease(
    session: Session, work_id: str, *, owner: str, lease_s: float, now: datetime
) -> Lease | None:
    """Take queued work.

    Args:
        work_id: The work.
        owner: Who takes it, in words.
        lease_s: Seconds until it counts as expired unless extended.
        now: The present time.

    Returns:
        The lease, or None when somebody else was faster or the work may not start yet.
    """
    work = locked(session, work_id)
    waits = now < work.not_before <= now + LONGEST_DELAY
    if work.status is not WorkStatus.QUEUED or waits:
        return None
    values = {
        "lease": work.lease + 1,
        "owner": owner,
        "attempts": work.attempts + 1,
        "lease_expires_at": now + timedelta(seconds=lease_s),
    }
    transition(session, work, WorkStatus.LEASED, f"leased to {owner}", values=values)
    return lease_of(work)


def extend(session: Session, lease: Lease, *, lease_s: float, now: datetime) -> bool:
    """Show that the holder lives.

    Returns:
        False when the lease was lost; the holder must stop at once.
    """
    result = session.execute(
        update(WorkRow)
        .where(
            WorkRow.id == lease.work_id,
            WorkRow.lease == lease.number,
            WorkRow.status == WorkStatus.LEASED,
        )
        .values(lease_expires_at=now + timedelta(seconds=lease_s))
    )
    return cast(CursorResult[Any], result).rowcount == 1


def record_headway(session: Session, lease: Lease) -> None:
    """Forget earlier crashes, since this driver gets on."""
    hold(session, lease).attempts = 0


def requeue(session: Session, lease: Lease, reason: str, *, delay_s: float, now: datetime) -> None:
    """Take the work from its driver, which died; it may be leased again after a delay.

    Raises:
        StaleLeaseError: The lease had ended already.
    """
    values = {"not_before": now + timedelta(seconds=delay_s), "lease_expires_at": None}
    transition(session, hold(session, lease), WorkStatus.QUEUED, reason, values=values)


def explain(session: Session, work_id: str, reason: str) -> None:
    """Say why queued work waits, at the resource it serves. An event if the reason is new."""
    row = resource(session, get(session, work_id))
    if row.status_reason == reason or is_final(row.status):
        return
    row.status_reason = reason
    session.flush()
    events.append(session, row.id, subject=row.id, status=row.status.value, message=reason)


def announce(session: Session, lease: Lease, messages: Sequence[str]) -> None:
    """Record events of the leased resource that no change of a status says. What it has among its
    events already is not recorded again.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = resource(session, hold(session, lease))
    for message in messages:
        if not events.has(session, row.id, message):
            events.append(session, row.id, subject=row.id, status=row.status.value, message=message)


def advance(session: Session, lease: Lease, to: ResourceStatus, reason: str) -> None:
    """Move the resource that the work serves. Does nothing when it is there already, as when an
    earlier driver got so far.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The transition table does not lead there.
    """
    row = resource(session, hold(session, lease))
    if row.status is not to:
        transition(session, row, to, reason)


def finish(session: Session, lease: Lease, to: ResourceStatus, reason: str) -> None:
    """The driver is done: move the resource to a final status, and the work to DONE.

    Trials of a search that have not ended are cancelled. A resource that is to be CANCELLED passes
    CANCELLING by itself.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The transition table does not lead there.
    """
    _conclude(session, hold(session, lease), to, WorkStatus.DONE, reason)


def give_up(session: Session, lease: Lease, reason: str) -> None:
    """The coordinator gives up on work that is queued or leased: resource and work FAILED.

    Raises:
        StaleLeaseError: A later lease was granted since `lease` was read.
    """
    work = lock(session, lease)
    failed = type(resource(session, work).status)("failed")
    _conclude(session, work, failed, WorkStatus.FAILED, reason)


def cancel_queued(session: Session, lease: Lease, reason: str) -> None:
    """The coordinator cancels work that no driver holds: resource CANCELLED, work DONE.

    Raises:
        StaleLeaseError: A later lease was granted since `lease` was read.
        ConflictError: A driver holds the work; it cancels by itself.
    """
    work = lock(session, lease)
    if work.status is not WorkStatus.QUEUED:
        raise ConflictError(f"{work.id} is {work.status}; only queued work is cancelled here")
    cancelled = type(resource(session, work).status)("cancelled")
    _conclude(session, work, cancelled, WorkStatus.DONE, reason)


def ask_to_cancel(session: Session, resource_id: str) -> WorkRow:
    """Write down that the user wants a pool or search stopped. For the API alone.

    Asking twice is the same as asking once.

    Raises:
        ConflictError: It has ended, or is a data set, whose check cannot be cancelled.
    """
    work = locked(session, of_resource(session, resource_id).id)
    row = resource(session, work)
    if isinstance(row, DatasetRow):
        raise ConflictError(f"data set {row.name} cannot be cancelled; its check ends by itself")
    if is_final(row.status):
        raise ConflictError(f"{row.name} is {row.status} already and cannot be cancelled")
    if work.desired is not Desired.CANCEL:
        work.desired = Desired.CANCEL
        session.flush()
        message = "a user asked to cancel"
        events.append(session, row.id, subject=row.id, status=row.status.value, message=message)
    return work


def _conclude(
    session: Session, work: WorkRow, to: AnyStatus, work_status: WorkStatus, reason: str
) -> None:
    row = resource(session, work)
    if isinstance(row, SearchRow):
        _cancel_trials(session, row, reason)
    if to in (SearchStatus.CANCELLED, PoolStatus.CANCELLED):
        _pass_cancelling(session, row, reason)
    transition(session, row, to, reason)
    transition(session, work, work_status, reason)


def _cancel_trials(session: Session, search: SearchRow, reason: str) -> None:
    unfinished = session.scalars(
        select(TrialRow)
        .where(
            TrialRow.search_id == search.id,
            TrialRow.status.in_([TrialStatus.PENDING, TrialStatus.RUNNING]),
        )
        .order_by(TrialRow.position)
    ).all()
    for trial in unfinished:
        transition(session, trial, TrialStatus.CANCELLED, reason)


def _pass_cancelling(session: Session, row: AnyResource, reason: str) -> None:
    if isinstance(row, SearchRow) and row.status in (SearchStatus.PREPARING, SearchStatus.RUNNING):
        transition(session, row, SearchStatus.CANCELLING, reason)
    if isinstance(row, PoolRow) and row.status is PoolStatus.TRAINING:
        transition(session, row, PoolStatus.CANCELLING, reason)
