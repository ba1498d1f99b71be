"""What each sink of a run has: the first completions, in order. A driver needs its lease to write;
the run may have ended meanwhile."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.sinks import SinkKind
from searchd.store import counters, events
from searchd.store.counters import Metric
from searchd.store.models import RunRow, SinkRow, TrialRow
from searchd.store.runs import trials
from searchd.store.work.lease import Lease, lock


def next_to_send(session: Session, run_id: str, kind: SinkKind) -> TrialRow | None:
    """Return the first ended trial that a sink does not have yet, with its evaluations, epochs and
    files; None if it has all."""
    row = session.get(SinkRow, (run_id, kind))
    trial_id = session.scalar(
        select(TrialRow.id).where(
            TrialRow.run_id == run_id, TrialRow.completion == (row.num_sent if row else 0)
        )
    )
    return None if trial_id is None else trials.get(session, trial_id)


def record_sent(session: Session, lease: Lease, kind: SinkKind) -> None:
    """Record that a sink has the trial that `next_to_send` returned.

    Raises:
        StaleLeaseError: A later lease was granted.
    """
    run_id = lock(session, lease).resource_id
    row = session.get(SinkRow, (run_id, kind))
    if row is None:
        row = SinkRow(run_id=run_id, kind=kind, num_sent=0)
        session.add(row)
    row.num_sent += 1
    counters.add(session, Metric.SINK_RECORDS, sink=kind.value, result="sent")


def record_failure(session: Session, lease: Lease, kind: SinkKind, reason: str) -> None:
    """Count a failure of a sink, and tell the first one of a run as an event.

    Raises:
        StaleLeaseError: A later lease was granted.
    """
    run = session.get_one(RunRow, lock(session, lease).resource_id)
    first_line = reason.partition("\n")[0]
    message = f"warning: sink {kind} fails, and is tried again; trials go on: {first_line}"
    events.append_once(session, run, f"sink:{kind}", [message])
    counters.add(session, Metric.SINK_RECORDS, sink=kind.value, result="failed")
