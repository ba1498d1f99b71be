"""Completions: the results of ended trials as they are reported to strategies."""

from datetime import datetime

from sqlalchemy.orm import Session

from searchd.domain.accuracy import ApKind
from searchd.domain.trial import Outcome
from searchd.search.confirmation import Judged, judge
from searchd.search.growing_history import Ended, History
from searchd.search.history import Completion
from searchd.spec import SearchSpec
from searchd.store.models import RunRow, TrialRow
from searchd.store.runs import trials


def of_run(session: Session, run: RunRow) -> list[Completion]:
    """Return all completions of a run, in order."""
    kind, rows = run.spec.score.accuracy, trials.completed(session, run.id)
    return [of_trial(row, run.started_at, kind) for row in rows]


def judged(session: Session, run: RunRow) -> Judged:
    """Return which completions of a run are accepted so far, and which are undecided."""
    return judge(of_run(session, run), confirm=_confirms(run))


def history(session: Session, run: RunRow) -> History:
    """Return everything that a run has proposed, and everything that has ended."""
    proposals = trials.proposals(session, run.id)
    return History.of(proposals, of_run(session, run), confirm=_confirms(run))


def ended(session: Session, run: RunRow) -> Ended:
    """Return what has ended in a run, as its driver keeps it in memory."""
    found = Ended(confirm=_confirms(run))
    for completion in of_run(session, run):
        found = found.after(completion)
    return found


def of_trial(row: TrialRow, started_at: datetime | None, kind: ApKind) -> Completion:
    """Return the completion of a trial that has one. It depends only on what is stored, so that a
    later driver reports the same to the strategy as the one that saw the trial end.

    Args:
        row: The trial, with its evaluations loaded.
        started_at: When the first driver of the run started.
        kind: Which AP the run ranks by.
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
        points=tuple(each.point(kind) for each in row.evaluations),
        busy_s=row.busy_s,
        elapsed_s=max(0.0, passed.total_seconds()),
        first_epoch_score=row.checks.first_epoch_score if row.checks else None,
        epoch_scores=row.checks.epoch_scores if row.checks else (),
        chosen_teacher=row.chosen_teacher,
        teacher_ap=row.checks.teacher_ap if row.checks else None,
    )


def _confirms(run: RunRow) -> bool:
    return isinstance(run.spec, SearchSpec) and run.spec.confirm
