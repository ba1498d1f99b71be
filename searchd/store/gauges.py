"""How much there is now of what has not ended: work, leases, trials, messages.

Every query reads an index on the status, so that its cost does not grow with what has ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import TrialStatus, WorkKind, WorkStatus
from searchd.domain.webhooks import DeliveryStatus
from searchd.store.models import DeliveryRow, TrialRow, WorkRow

OPEN_WORK = (WorkStatus.QUEUED, WorkStatus.LEASED, WorkStatus.PAUSED)
OPEN_TRIALS = (TrialStatus.PENDING, TrialStatus.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What has not ended."""

    work: Mapping[tuple[WorkKind, WorkStatus], int]
    """Number of pieces of work by kind and status."""
    trials: Mapping[TrialStatus, int]
    """Number of trials by status."""
    overdue_leases: int
    """Number of leases that have expired: their drivers are dead, or cannot write."""
    oldest_queued_s: float
    """Seconds for which the oldest queued work has waited; 0 if nothing is queued."""
    pending_deliveries: int
    """Number of messages that webhooks are still to get."""


def read(session: Session, *, now: datetime) -> Gauges:
    """Return what has not ended."""
    work = session.execute(
        select(WorkRow.kind, WorkRow.status, func.count())
        .where(WorkRow.status.in_(OPEN_WORK))
        .group_by(WorkRow.kind, WorkRow.status)
    )
    trials = session.execute(
        select(TrialRow.status, func.count())
        .where(TrialRow.status.in_(OPEN_TRIALS))
        .group_by(TrialRow.status)
    )
    return Gauges(
        work={(kind, status): count for kind, status, count in work},
        trials=dict(trials.all()),
        overdue_leases=_overdue(session, now),
        oldest_queued_s=_oldest_s(session, now),
        pending_deliveries=_pending(session),
    )


def _overdue(session: Session, now: datetime) -> int:
    expired = WorkRow.lease_expires_at < now
    return session.scalars(
        select(func.count()).where(WorkRow.status == WorkStatus.LEASED, expired)
    ).one()


def _pending(session: Session) -> int:
    is_pending = DeliveryRow.status == DeliveryStatus.PENDING
    return session.scalars(select(func.count()).where(is_pending)).one()


def _oldest_s(session: Session, now: datetime) -> float:
    # Work is not changed while it is queued, so this is when it was queued.
    oldest = session.scalar(
        select(func.min(WorkRow.updated_at)).where(WorkRow.status == WorkStatus.QUEUED)
    )
    return 0.0 if oldest is None else max(0.0, (now - oldest).total_seconds())
