"""Counts changes of status, for the metrics of the API."""

from datetime import datetime

from sqlalchemy.orm import Session

from searchd.domain.lifecycle import AnyStatus, TrialStatus, WorkStatus
from searchd.domain.transitions import is_final
from searchd.store import counters
from searchd.store.base import now
from searchd.store.counters import Metric
from searchd.store.models import TrialRow, WorkRow


def count_trial(session: Session, row: TrialRow) -> None:
    """Count the change of a trial to its present status, if it was started or has ended."""
    if row.status is TrialStatus.RUNNING:
        counters.add(session, Metric.TRIAL_STARTS)
    if not is_final(row.status):
        return
    is_cancelled = row.status is TrialStatus.CANCELLED or row.outcome is None
    outcome = row.status.value if is_cancelled else str(row.outcome)
    counters.add(session, Metric.TRIALS_ENDED, outcome=outcome)
    counters.observe(session, Metric.TRIAL_SECONDS, row.busy_s, outcome=outcome)


def count_work(session: Session, row: WorkRow, before: AnyStatus, since: datetime) -> None:
    """Count the change of work to its present status.

    Args:
        session: A writing session.
        row: The work.
        before: Its status before.
        since: When it was changed last; of queued work: when it was queued.
    """
    kind = row.kind.value
    if row.status is WorkStatus.LEASED:
        counters.add(session, Metric.LEASES, kind=kind)
        waited_s = (now() - since).total_seconds()
        counters.observe(session, Metric.QUEUE_WAIT, max(0.0, waited_s), kind=kind)
    elif before is WorkStatus.LEASED and row.status is WorkStatus.QUEUED:
        counters.add(session, Metric.REQUEUES, kind=kind)
    elif is_final(row.status):
        counters.add(session, Metric.WORK_ENDED, kind=kind, status=row.status.value)
