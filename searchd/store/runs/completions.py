"""What strategies are told of trials that have ended, and the limits that they keep to."""

from datetime import datetime

from sqlalchemy.orm import Session

from searchd.domain.trial import Outcome
from searchd.search.confirmation import Judged, judge
from searchd.search.history import Completion, OperatingPoint
from searchd.spec import SearchSpec
from searchd.store.models import RunRow, TrialRow
from searchd.store.runs import trials


def of_run(session: Session, run: RunRow) -> list[Completion]:
    """Every completion of a search or a distillation, in order."""
    return [of_trial(row, run.started_at) for row in trials.completed(session, run.id)]


def judged(session: Session, run: RunRow) -> Judged:
    """What of a search or a distillation is accepted by now."""
    confirm = isinstance(run.spec, SearchSpec) and run.spec.confirm
    return judge(of_run(session, run), confirm=confirm)


def of_trial(row: TrialRow, started_at: datetime | None) -> Completion:
    """The completion of a trial that has one. A function of what is stored, so that a strategy is
    told the same by the driver that saw the trial end and by one that comes later.

    Args:
        row: With its evaluations.
        started_at: When the search was first started.
    """
    assert row.completion is not None  # set together with the outcome and the end
    assert row.outcome is not None
    assert row.finished_at is not None
    succeeded = row.outcome is Outcome.SUCCEEDED
    passed = row.finished_at - (started_at or row.created_at)
    return Completion(
        sequence=row.completion,
        proposal=row.proposal,
        outcome=row.outcome,
        architecture=row.detector.architecture if succeeded and row.detector else None,
        score=row.score if succeeded else None,
        points=tuple(
            OperatingPoint(resolution=each.resolution, ap=each.ap, macs=each.macs)
            for each in row.evaluations
        ),
        busy_s=row.busy_s,
        elapsed_s=max(0.0, passed.total_seconds()),
        first_epoch_score=row.checks.first_epoch_score if row.checks else None,
        chosen_teacher=row.chosen_teacher,
    )
