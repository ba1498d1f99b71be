"""How work and what it serves move together: paused, queued again, ended. The caller has locked the
work, and nobody carries it out any more."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import (
    AnyStatus,
    PoolStatus,
    SearchStatus,
    TrialStatus,
    WorkStatus,
    next_statuses,
)
from searchd.store.models import Desired, RunRow, TrialRow, WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.work.transition import transition


def apply_desired(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    """Do what the user wants by now: pause it, cancel it, or queue it again."""
    if work.desired in (Desired.CANCEL, Desired.KILL):
        cancelled = type(row.status)("cancelled")
        conclude(session, work, row, cancelled, WorkStatus.DONE, reason)
        return
    if work.status is not WorkStatus.PAUSED:
        _pause(session, work, row, reason)
    if work.desired is Desired.RUN:
        start_again(session, work, row, reason)


def conclude(
    session: Session,
    work: WorkRow,
    row: AnyResource,
    to: AnyStatus,
    work_status: WorkStatus,
    reason: str,
) -> None:
    """End it. Trials that have not ended are cancelled."""
    for trial in _trials(session, row, TrialStatus.PENDING, TrialStatus.RUNNING):
        transition(session, trial, TrialStatus.CANCELLED, reason)
    if to in (SearchStatus.CANCELLED, PoolStatus.CANCELLED):
        pass_through(session, row, "cancelling", reason)
    transition(session, row, to, reason)
    transition(session, work, work_status, reason, values={"lease_expires_at": None})


def start_again(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    """Queue what is paused or has ended. Trials that were cancelled are PENDING again."""
    for trial in _trials(session, row, TrialStatus.CANCELLED):
        transition(session, trial, TrialStatus.PENDING, reason, values={"outcome": None})
    transition(session, row, type(row.status)("queued"), reason)
    transition(session, work, WorkStatus.QUEUED, reason, values={"attempts": 0})


def pass_through(session: Session, row: AnyResource, through: str, reason: str) -> None:
    """Take on a transient status, if the table leads there."""
    if through in next_statuses(row.status):
        transition(session, row, type(row.status)(through), reason)


def _pause(session: Session, work: WorkRow, row: AnyResource, reason: str) -> None:
    pass_through(session, row, "pausing", reason)
    for trial in _trials(session, row, TrialStatus.RUNNING):
        transition(session, trial, TrialStatus.PENDING, reason)
    transition(session, row, type(row.status)("paused"), reason)
    transition(session, work, WorkStatus.PAUSED, reason, values={"lease_expires_at": None})


def _trials(session: Session, row: AnyResource, *statuses: TrialStatus) -> Sequence[TrialRow]:
    """Those of a run in one of the statuses; a pool has none."""
    if not isinstance(row, RunRow):
        return []
    return session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == row.id, TrialRow.status.in_(statuses))
        .order_by(TrialRow.position)
    ).all()
