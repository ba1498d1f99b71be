"""Ends of trials: the report of a worker, stored once, under the driver's lease."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from sqlalchemy import insert
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import FailureCause, TrialStatus
from searchd.domain.resolution import Resolution
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.transitions import is_final
from searchd.domain.trial import Artifact, Evaluation, Outcome
from searchd.messages.reports import EpochMetrics, Report
from searchd.store import events
from searchd.store.models import ArtifactRow, Desired, EpochMetricsRow, EvaluationRow, TrialRow
from searchd.store.models.measurements import measured
from searchd.store.runs import breakdowns, trials
from searchd.store.runs.fronts import FrontKeeper
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold
from searchd.store.work.transition import transition


def record(
    session: Session,
    lease: Lease,
    report: Report,
    scores: Mapping[Resolution, float],
    *,
    fronts: FrontKeeper | None = None,
    completion: int | None = None,
    busy_s: float = 0.0,
) -> TrialRow:
    """Store the report of a worker and end the trial.

    Trials with the outcome SUCCEEDED, NO_OP or ABANDONED (status SKIPPED) or FAILED get the next
    completion number, which orders the results for the strategy. With the outcome STOPPED, the
    trial becomes CANCELLED if a user asked to cancel the run, else PENDING. A trial that has ended
    does not change, so the call is idempotent.

    Args:
        session: A writing session.
        lease: The lease on the run of the trial.
        report: The report of an attempt that was started.
        scores: H(S, r) for each evaluated resolution.
        fronts: Those of the run, if the caller keeps them; None: they are read.
        completion: The number of earlier completions of the run, if the caller knows it; None: they
            are counted.
        busy_s: Seconds that a worker has spent on the trial since the last record.

    Returns:
        The trial, with its evaluations. Its `completion` is set unless it was stopped.

    Raises:
        StaleLeaseError: The lease was lost.
        InvalidValueError: A success lacks its detector or a score, or its teacher is not one of the
            proposal's candidates; or the attempt was never started.
        IllegalTransitionError: The trial is not RUNNING.
    """
    row = trials.of_lease(session, lease, report.trial)
    if is_final(row.status):
        session.refresh(row, ["evaluations"])
        return row
    if report.attempt > row.attempt:
        raise InvalidValueError(
            f"trial {row.id}: report of attempt {report.attempt}, but only {row.attempt} started"
        )
    known = {"busy_s": row.busy_s + busy_s}
    if report.outcome is Outcome.STOPPED:
        _record_stop(session, lease, row, report, known)
    else:
        if completion is None:
            completion = trials.next_number(session, row.run_id, "completion")
        found = _record_end(session, row, report, scores, known | {"completion": completion})
        if row.status is TrialStatus.SUCCEEDED:
            (fronts or FrontKeeper(row.run_id)).add(session, row, found)
        queue.reset_attempts(session, lease)
    return row


def _record_stop(
    session: Session, lease: Lease, row: TrialRow, report: Report, known: Mapping[str, object]
) -> None:
    cancelled = hold(session, lease).desired in (Desired.CANCEL, Desired.KILL)
    to = TrialStatus.CANCELLED if cancelled else TrialStatus.PENDING
    values = {**known, "outcome": report.outcome if cancelled else None}
    transition(session, row, to, report.reason, values=values)


def _record_end(
    session: Session,
    row: TrialRow,
    report: Report,
    scores: Mapping[Resolution, float],
    known: Mapping[str, object],
) -> list[EvaluationRow]:
    """Return the evaluations, which are stored."""
    _check_success(row, report, scores)
    evaluations = _add_evaluations(session, row, report.evaluations, scores)
    breakdowns.add(session, evaluations, report.evaluations)
    _add_all(session, EpochMetricsRow, row, report.epochs)
    _add_all(session, ArtifactRow, row, report.artifacts)
    to, reason, cause = _result(report)
    values = {
        **known,
        "outcome": report.outcome,
        "cause": cause,
        "detector": report.detector,
        "params": report.params,
        "base_macs": report.base_macs,
        "base_cost": report.base_cost,
        "score": max(scores.values()) if to is TrialStatus.SUCCEEDED else None,
        "checks": report.checks,
        "chosen_teacher": report.chosen_teacher,
        "progress": None,
    }
    transition(session, row, to, reason, values=values)
    warnings = [f"warning: {warning}" for warning in report.checks.warnings]
    for message in (*report.notes, *warnings):
        events.append(session, row, message)
    return evaluations


def _add_evaluations(
    session: Session,
    row: TrialRow,
    evaluations: Sequence[Evaluation],
    scores: Mapping[Resolution, float],
) -> list[EvaluationRow]:
    """Return the evaluations in their order, stored by one statement."""
    values = [
        {
            "trial_id": row.id,
            "score": scores.get(evaluation.resolution),
            "cost": evaluation.cost,
            **measured(evaluation),
        }
        for evaluation in evaluations
    ]
    added = (
        session.scalars(insert(EvaluationRow).returning(EvaluationRow), values) if values else ()
    )
    stored = {each.resolution: each for each in added}
    found = [stored[evaluation.resolution] for evaluation in evaluations]
    set_committed_value(row, "evaluations", found)
    return found


def _add_all(
    session: Session,
    table: type[EpochMetricsRow | ArtifactRow],
    row: TrialRow,
    rows: Sequence[EpochMetrics | Artifact],
) -> None:
    """Store what the columns of a table are named like, by one statement."""
    if rows:
        session.execute(insert(table), [{"trial_id": row.id, **asdict(each)} for each in rows])


def _check_success(row: TrialRow, report: Report, scores: Mapping[Resolution, float]) -> None:
    if report.outcome is not Outcome.SUCCEEDED:
        return
    missing = {evaluation.resolution for evaluation in report.evaluations} - set(scores)
    if missing or not scores or report.detector is None:
        raise InvalidValueError(
            f"trial {row.id}: a success needs its detector and a score at every resolution; "
            f"detector is {'missing' if report.detector is None else 'given'}, scores are missing "
            f"at {sorted(map(str, missing)) or 'none of the evaluated resolutions'}"
        )
    teaching = row.proposal.teacher
    candidates = teaching.candidates if isinstance(teaching, TeacherCandidates) else (None,)
    if report.chosen_teacher not in candidates:
        raise InvalidValueError(
            f"trial {row.id}: a success chooses its teacher if and only if its proposal has "
            f"candidates; those are {', '.join(map(str, candidates))}, and chosen was "
            f"{report.chosen_teacher}"
        )


def _result(report: Report) -> tuple[TrialStatus, str, FailureCause | None]:
    match report.outcome:
        case Outcome.SUCCEEDED:
            return TrialStatus.SUCCEEDED, "trained and scored", None
        case Outcome.NO_OP | Outcome.ABANDONED:
            return TrialStatus.SKIPPED, report.reason, None
        case _:
            return TrialStatus.FAILED, report.reason, report.cause or FailureCause.BUG
