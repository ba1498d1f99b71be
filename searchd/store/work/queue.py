"""The queue of work: leased to a driver, extended by its heartbeats, requeued, finished or failed.

The coordinator leases and requeues; a driver extends its lease and finishes. `requests` records
what is desired. QUEUED work is always desired to RUN: any other request for work without a driver
is carried out at once.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from searchd.domain.errors import NotFoundError, StaleLeaseError
from searchd.domain.lifecycle import FAILED, STOPPABLE, ResourceStatus, WorkKind, WorkStatus
from searchd.store import events
from searchd.store.models import (
    Desired,
    DesiredBy,
    WorkRow,
)
from searchd.store.models.resources import TABLES, AnyResource
from searchd.store.work import status_changes
from searchd.store.work.lease import Lease, hold, lock, locked
from searchd.store.work.transition import transition

MAX_DELAY = timedelta(minutes=2)
"""Maximum back-off. A longer one was computed by a clock that has been put back since."""


def add(session: Session, kind: WorkKind, resource_id: str, *, priority: int = 0) -> WorkRow:
    """Queue the work that serves a new resource."""
    work = WorkRow(
        id=f"{kind}-{resource_id}", kind=kind, resource_id=resource_id, priority=priority
    )
    session.add(work)
    return work


def get(session: Session, work_id: str) -> WorkRow:
    """Return work by its id.

    Raises:
        NotFoundError: There is no such work.
    """
    work = session.get(WorkRow, work_id)
    if work is None:
        raise NotFoundError(f"work {work_id} does not exist")
    return work


def of_resource(session: Session, resource_id: str) -> WorkRow:
    """Return the work that serves a resource."""
    return session.scalars(select(WorkRow).where(WorkRow.resource_id == resource_id)).one()


def resource(session: Session, work: WorkRow) -> AnyResource:
    """Return the resource that the work serves."""
    return cast(AnyResource, session.get_one(TABLES[work.kind], work.resource_id))


def queued(session: Session, *, now: datetime) -> Sequence[WorkRow]:
    """Return the work that may be leased now, oldest first."""
    return session.scalars(
        select(WorkRow)
        .where(
            WorkRow.status == WorkStatus.QUEUED,
            or_(WorkRow.not_before <= now, WorkRow.not_before > now + MAX_DELAY),
        )
        .order_by(WorkRow.created_at, WorkRow.id)
    ).all()


def leased(session: Session) -> Sequence[WorkRow]:
    """Return the work that a driver holds, or held when it died, oldest first."""
    return session.scalars(
        select(WorkRow)
        .where(WorkRow.status == WorkStatus.LEASED)
        .order_by(WorkRow.created_at, WorkRow.id)
    ).all()


def lease_of(work: WorkRow) -> Lease:
    """Return the last lease granted on the work."""
    return Lease(work.id, work.lease)


def lease(
    session: Session, work_id: str, *, owner: str, lease_s: float, now: datetime
) -> Lease | None:
    """Lease queued work.

    Args:
        session: A writing session.
        work_id: The work.
        owner: The process that leases it, in words.
        lease_s: Seconds until the lease expires, unless it is extended.
        now: The present time.

    Returns:
        The lease; None if the work was leased by another process or may not start yet.
    """
    work = locked(session, work_id)
    waits = now < work.not_before <= now + MAX_DELAY
    if work.status is not WorkStatus.QUEUED or waits:
        return None
    values = {
        "lease": work.lease + 1,
        "owner": owner,
        "attempts": work.attempts + 1,
        "lease_expires_at": now + timedelta(seconds=lease_s),
    }
    transition(session, work, WorkStatus.LEASED, f"leased to {owner}", values=values)
    message = f"driver {work.lease} is starting ({owner})"
    events.append(session, resource(session, work), message)
    return lease_of(work)


def extend(session: Session, lease: Lease, *, lease_s: float, now: datetime) -> bool:
    """Extend a lease: the heartbeat of its holder.

    Returns:
        False if the lease was lost; the holder must stop at once.
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


def reset_attempts(session: Session, lease: Lease) -> None:
    """Reset the number of consecutive crashes, because this driver has achieved something."""
    hold(session, lease).attempts = 0


def requeue(
    session: Session, lease: Lease, reason: str, *, delay_s: float, now: datetime
) -> WorkStatus:
    """Take the work from its driver, which died, and queue it again. If it is to be paused or
    cancelled, do that instead.

    Args:
        session: A writing session.
        lease: The lease of the driver.
        reason: How the driver died, in words.
        delay_s: Seconds until the work may be leased again.
        now: The present time.

    Returns:
        The status of the work.

    Raises:
        StaleLeaseError: The lease had ended already.
    """
    work = hold(session, lease)
    row = resource(session, work)
    if _is_to_stop(work, row):
        status_changes.apply_desired(session, work, row, f"{work.status_reason}; {reason}")
    else:
        _leave(session, work, row, reason, not_before=now + timedelta(seconds=delay_s))
    return work.status


def explain(session: Session, work_id: str, reason: str) -> None:
    """Set the reason why queued work waits, with an event if it has changed."""
    work = locked(session, work_id)
    row = resource(session, work)
    if row.status_reason == reason or work.status is not WorkStatus.QUEUED:
        return
    row.status_reason = reason
    events.append(session, row, reason)


def note(session: Session, lease: Lease, reason: str) -> None:
    """Set the reason for the status of leased work, with an event if it has changed.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = resource(session, hold(session, lease))
    if row.status_reason != reason:
        row.status_reason = reason
        events.append(session, row, reason)


def record_once(session: Session, lease: Lease, key: str, messages: Sequence[str]) -> None:
    """Record events of the leased resource other than changes of its status, unless an earlier
    driver, or this one, has recorded them.

    Args:
        session: A writing session.
        lease: On the work that serves the resource.
        key: Names what is recorded within the resource, such as "plan".
        messages: One event each.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    work = hold(session, lease)
    if messages:
        events.append_once(session, resource(session, work), key, messages)


def advance(session: Session, lease: Lease, to: ResourceStatus, reason: str) -> None:
    """Move the resource that the work serves to a status. Does nothing if it has that status
    already, because an earlier driver has moved it.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The transition table does not lead there.
    """
    row = resource(session, hold(session, lease))
    if row.status is not to:
        transition(session, row, to, reason)


def finish(session: Session, lease: Lease, to: ResourceStatus, reason: str) -> None:
    """Move the resource to a final status and the work to DONE.

    Trials of a run that have not ended are cancelled. A resource that becomes CANCELLED passes
    through CANCELLING.

    Raises:
        StaleLeaseError: The lease was lost.
        IllegalTransitionError: The transition table does not lead there.
    """
    work = hold(session, lease)
    status_changes.conclude(session, work, resource(session, work), to, WorkStatus.DONE, reason)


def acknowledge_stop(session: Session, lease: Lease) -> None:
    """Record that the driver has seen the request and stops its workers: PAUSING or CANCELLING.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    work = hold(session, lease)
    if work.desired is Desired.RUN:
        return
    statuses, row = STOPPABLE[work.kind], resource(session, work)
    if work.desired is not Desired.PAUSE:
        status_changes.pass_through(session, row, statuses.cancelling, "workers are stopping")
        return
    reason = "workers are saving checkpoints and stopping"
    if work.desired_by is DesiredBy.DISK_GUARD:
        reason = f"low disk space: {reason}; resumes automatically"
    status_changes.pass_through(session, row, statuses.pausing, reason)


def stopped(session: Session, lease: Lease) -> WorkStatus:
    """Record that the driver has stopped as requested. The resource becomes PAUSED or CANCELLED, as
    is desired by now; or QUEUED, if it was resumed in the meantime.

    Returns:
        The status of the work.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    work = hold(session, lease)
    row = resource(session, work)
    if _is_to_stop(work, row):
        status_changes.apply_desired(session, work, row, work.status_reason)
    else:
        _leave(session, work, row, "the driver was asked to stop, and the request was withdrawn")
    return work.status


def give_up(session: Session, lease: Lease, reason: str) -> None:
    """Fail queued or leased work and its resource, which the coordinator has given up.

    Raises:
        StaleLeaseError: A later lease was granted since `lease` was read, or the work was paused or
            has ended.
    """
    work = lock(session, lease)
    if work.status not in (WorkStatus.QUEUED, WorkStatus.LEASED):
        raise StaleLeaseError(f"{work.id} is {work.status}, and can no longer be given up")
    row = resource(session, work)
    status_changes.conclude(session, work, row, FAILED[work.kind], WorkStatus.FAILED, reason)


def _is_to_stop(work: WorkRow, row: AnyResource) -> bool:
    """Whether its driver was to stop; also if the resource is to resume, once its workers have."""
    return work.desired is not Desired.RUN or status_changes.is_pausing(work, row)


def _leave(
    session: Session,
    work: WorkRow,
    row: AnyResource,
    reason: str,
    *,
    not_before: datetime | None = None,
) -> None:
    """Queue the work for another driver; the resource keeps its status."""
    values: dict[str, object] = {"lease_expires_at": None}
    if not_before is not None:
        values["not_before"] = not_before
    transition(session, work, WorkStatus.QUEUED, reason, values=values)
    events.append(session, row, f"requeued: {reason}")
