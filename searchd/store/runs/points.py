"""Evaluations of runs as points of cost and accuracy: those on the fronts, and others by pages."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import BASE_NAME
from searchd.store.models import EvaluationRow, TrialRow
from searchd.store.paging import Page, check_page_size
from searchd.store.runs.trials import trial_id

Pair = tuple[TrialRow, EvaluationRow]
"""A trial that succeeded, and one of its evaluations."""
MAX_COMPLETION_DIGITS = 9


def copies(session: Session, run_ids: Sequence[str]) -> dict[str, str]:
    """Return the bases of these runs that are unchanged copies of a trial of one of these runs,
    with the id of the original."""
    bases = session.execute(
        select(TrialRow.id, TrialRow.parent_id).where(
            TrialRow.id.in_([trial_id(run_id, BASE_NAME) for run_id in run_ids]),
            TrialRow.parent_id.is_not(None),
        )
    ).all()
    parents = [parent for _, parent in bases]
    inside = session.scalars(
        select(TrialRow.id).where(TrialRow.id.in_(parents), TrialRow.run_id.in_(run_ids))
    )
    known = set(inside)
    originals = {copy: parent for copy, parent in bases if parent in known}
    return {copy: _first(originals, original) for copy, original in originals.items()}


def bases_of_others(session: Session, run_ids: Sequence[str]) -> Sequence[str]:
    """Return the ids of the runs' bases that are unchanged copies of another run's student."""
    return session.scalars(
        select(TrialRow.id).where(
            TrialRow.id.in_([trial_id(run_id, BASE_NAME) for run_id in run_ids]),
            TrialRow.parent_id.is_not(None),
        )
    ).all()


def of_evaluations(session: Session, evaluation_ids: Iterable[int]) -> Sequence[Pair]:
    """Return evaluations with their trials, in the order in which they were recorded."""
    return _pairs(session, EvaluationRow.id.in_(list(evaluation_ids)))


def of_trials(session: Session, trial_ids: Iterable[str]) -> Sequence[Pair]:
    """Return the evaluations of trials, in the order in which they were recorded."""
    return _pairs(session, TrialRow.id.in_(list(trial_ids)))


def num_completed(session: Session, run_ids: Sequence[str]) -> Mapping[str, int]:
    """Return how many trials of each run have ended."""
    rows = session.execute(
        select(TrialRow.run_id, func.max(TrialRow.completion))
        .where(TrialRow.run_id.in_(run_ids))
        .group_by(TrialRow.run_id)
    )
    return {run_id: 0 if last is None else last + 1 for run_id, last in rows}


def evenly(session: Session, run_id: str, num_completed: int, limit: int) -> Sequence[Pair]:
    """Return the evaluations of at most `limit` trials that are spread evenly over the completions
    of a run, in order."""
    step = max(1, -(-num_completed // limit)) if limit else 1
    chosen = list(range(0, num_completed, step))[:limit]
    return _pairs(session, TrialRow.run_id == run_id, TrialRow.completion.in_(chosen))


def page(
    session: Session,
    run_id: str,
    *,
    every: int = 1,
    page_size: int = 100,
    page_token: str | None = None,
) -> Page[Pair]:
    """Return the evaluations of one page of trials of a run, in the order in which they ended.

    Args:
        session: Any session.
        run_id: The run.
        every: 10 takes every tenth trial; 1 takes all.
        page_size: Largest number of trials.
        page_token: That of the previous page; None for the first one.

    Raises:
        InvalidValueError: `page_size` or `page_token` is illegal.
    """
    check_page_size(page_size)
    start = _checked(page_token)
    total = num_completed(session, [run_id]).get(run_id, 0)
    end = start + every * page_size
    pairs = _pairs(
        session,
        TrialRow.run_id == run_id,
        TrialRow.completion.in_(list(range(start, min(end, total), every))),
    )
    return Page(list(pairs), str(end) if end < total else None)


def evaluations_per_trial(session: Session, run_id: str) -> int:
    """Return how many evaluations the first completed trial of a run has; at least 1."""
    first = select(TrialRow.id).where(TrialRow.run_id == run_id, TrialRow.completion == 0)
    counted = select(func.count()).where(EvaluationRow.trial_id.in_(first))
    return max(1, session.scalar(counted) or 0)


def _checked(page_token: str | None) -> int:
    if page_token is None:
        return 0
    if not (page_token.isdecimal() and len(page_token) <= MAX_COMPLETION_DIGITS):
        raise InvalidValueError(f"page_token {page_token!r} was not given out by this list")
    return int(page_token)


def _pairs(session: Session, *conditions: object) -> Sequence[Pair]:
    rows = session.execute(
        select(TrialRow, EvaluationRow)
        .join(EvaluationRow, EvaluationRow.trial_id == TrialRow.id)
        .where(TrialRow.status == TrialStatus.SUCCEEDED, *conditions)  # type: ignore[arg-type]
        .order_by(TrialRow.completion, EvaluationRow.id)
    )
    return [(trial, evaluation) for trial, evaluation in rows]


def _first(originals: Mapping[str, str], trial_id: str) -> str:
    while trial_id in originals:
        trial_id = originals[trial_id]
    return trial_id
