"""Changes of status that work and its resource make together: paused, queued again, ended.

The caller has locked the work, and no driver holds it any more."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import STOPPABLE, ResourceStatus, TrialStatus, WorkStatus
from searchd.domain.transitions import next_statuses
from searchd.store.models import Desired, RunRow, TrialRow, WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.work.transition import transition

_STOPPING = "stopping without waiting for the driver"
_STOPPED = "every worker has stopped"
"""The reason of a resource that passes through PAUSED and is queued again."""


def apply_desired(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    """Carry out what is desired by now: pause the resource, cancel it, or queue it again."""
    if work.desired in (Desired.CANCEL, Desired.KILL):
        cancelled = STOPPABLE[work.kind].cancelled
        conclude(session, work, row, cancelled, WorkStatus.DONE, reason)
        return
    if work.status is not WorkStatus.PAUSED:
        _pause(session, work, row, reason if work.desired is Desired.PAUSE else _STOPPED)
    if work.desired is Desired.RUN:
        requeue(session, work, row, reason)


def conclude(
    session: Session,
    work: WorkRow,
    row: AnyResource,
    to: ResourceStatus,
    work_status: WorkStatus,
    reason: str,
) -> None:
    """End the resource and its work. Trials that have not ended are cancelled."""
    for trial in _trials(session, row, TrialStatus.PENDING, TrialStatus.RUNNING):
        transition(session, trial, TrialStatus.CANCELLED, reason)
    statuses = STOPPABLE.get(work.kind)
    if statuses is not None and to is statuses.cancelled:
        pass_through(session, row, statuses.cancelling, _STOPPING)
    transition(session, row, to, reason)
    transition(session, work, work_status, reason, values={"lease_expires_at": None})


def requeue(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    """Queue a resource that is paused or has ended. Its cancelled trials become PENDING."""
    for trial in _trials(session, row, TrialStatus.CANCELLED):
        transition(session, trial, TrialStatus.PENDING, reason, values={"outcome": None})
    transition(session, row, STOPPABLE[work.kind].queued, reason)
    transition(session, work, WorkStatus.QUEUED, reason, values={"attempts": 0})


def pass_through(session: Session, row: AnyResource, through: ResourceStatus, reason: str) -> None:
    """Move the resource to a transient status, if the table leads there."""
    if through in next_statuses(row.status):
        transition(session, row, through, reason)


def is_pausing(work: WorkRow, row: AnyResource) -> bool:
    """Return whether a driver has seen that the resource is to be paused, and stops its workers."""
    return work.kind in STOPPABLE and row.status is STOPPABLE[work.kind].pausing


def _pause(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    statuses = STOPPABLE[work.kind]
    pass_through(session, row, statuses.pausing, _STOPPING)
    for trial in _trials(session, row, TrialStatus.RUNNING):
        transition(session, trial, TrialStatus.PENDING, reason)
    transition(session, row, statuses.paused, reason)
    transition(session, work, WorkStatus.PAUSED, reason, values={"lease_expires_at": None})


def _trials(session: Session, row: AnyResource, *statuses: TrialStatus) -> Sequence[TrialRow]:
    """Return the trials of a run that have one of the statuses; a pool has no trials."""
    if not isinstance(row, RunRow):
        return []
    return session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == row.id, TrialRow.status.in_(statuses))
        .order_by(TrialRow.position)
    ).all()
