"""Retention of trials' weights: which are needed, and which were collected.

A transaction that starts to need a trial's weights, and one that collects them, locks the work that
the trial belongs to. So `claim` and `collect` never overlap, and neither do `collect` and the
writes of a driver.
"""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from searchd.domain.accuracy import ApKind
from searchd.domain.errors import CollectedError, ConflictError
from searchd.domain.lifecycle import (
    ExportStatus,
    PoolStatus,
    SearchStatus,
    TeacherStatus,
    WorkKind,
)
from searchd.domain.transitions import is_final
from searchd.domain.trial import Finish
from searchd.messages.files import ADAPTERS, STUDENT
from searchd.search.history import Completion, ranking
from searchd.search.retention import DEFAULT_TOP_K, Descent, KeptTrial, needed
from searchd.spec import JointDetNasSpec, PoolSearchSpec, RandomSpec, SearchSpec
from searchd.store import events
from searchd.store.models import ArtifactRow, ExportRow, PoolRow, RunRow, TeacherRow, TrialRow
from searchd.store.runs import completions, trials
from searchd.store.work import queue
from searchd.store.work.lease import locked

WEIGHTS = (STUDENT, ADAPTERS)
"""Names of the artifacts that are collected. All others are small, or exports."""
_CLIMBERS = (JointDetNasSpec, PoolSearchSpec)
"""Strategies whose trials descend from one of their top-k trials."""
_ENDED_POOLS = (PoolStatus.READY, PoolStatus.FAILED, PoolStatus.CANCELLED)
_ENDED_TEACHERS = (TeacherStatus.READY, TeacherStatus.FAILED, TeacherStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedRun:
    """A run or a training that may have files to collect."""

    id: str
    kind: WorkKind
    num_events: int
    """Number of its last event."""
    ended_at: datetime | None
    """None while it has not ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetainedArtifacts:
    """The files that a run has in its folder according to the database."""

    files: frozenset[str]
    """URIs of stored files."""
    settled: frozenset[str]
    """Names of trials that ended so long ago that nothing writes or resumes them."""
    known: frozenset[str]
    """Names of all trials."""
    collected: tuple[str, ...]
    """Names of trials whose weights this call recorded as collected."""
    is_past_retention: bool
    """Whether the run itself ended longer ago than everything is kept."""


def runs(session: Session) -> Sequence[RetainedRun]:
    """Return all searches and distillations."""
    rows = session.execute(
        select(RunRow.id, RunRow.kind, RunRow.num_events, RunRow.status, RunRow.finished_at)
    )
    return [
        RetainedRun(
            id=id_,
            kind=WorkKind(kind),
            num_events=count,
            ended_at=at if is_final(status) else None,
        )
        for id_, kind, count, status, at in rows
    ]


def ended_trainings(session: Session) -> Sequence[RetainedRun]:
    """Return the trainings of pools and teachers that have ended."""
    pools = session.scalars(select(PoolRow).where(PoolRow.status.in_(_ENDED_POOLS)))
    teachers = session.scalars(
        select(TeacherRow).where(
            TeacherRow.status.in_(_ENDED_TEACHERS), TeacherRow.started_at.is_not(None)
        )
    )
    rows: list[tuple[WorkKind, PoolRow | TeacherRow]] = [
        *((WorkKind.POOL, row) for row in pools),
        *((WorkKind.TEACHER_TRAINING, row) for row in teachers),
    ]
    return [
        RetainedRun(id=row.id, kind=kind, num_events=row.num_events, ended_at=row.finished_at)
        for kind, row in rows
    ]


def collect(session: Session, run_id: str, *, keep_s: float, now: datetime) -> RetainedArtifacts:
    """Record as collected the weights of a run's trials that nothing needs. The files still exist
    after this call, but are no longer handed out.

    Args:
        session: A writing session.
        run_id: The search or distillation.
        keep_s: Seconds for which everything is kept after a trial, or the run, has ended.
        now: The present time.

    Returns:
        The files that the run still has.
    """
    locked(session, queue.of_resource(session, run_id).id)
    run = session.get_one(RunRow, run_id, populate_existing=True)
    rows = _in_order_of_completion(session, run_id)
    before = now - timedelta(seconds=keep_s)
    settled = [row for row in rows if row.finished_at is not None and row.finished_at <= before]
    has_ended = is_final(run.status) and run.finished_at is not None
    is_past_retention = has_ended and run.finished_at is not None and run.finished_at <= before
    unneeded: list[TrialRow] = []
    if is_past_retention or not has_ended:
        kept = _needed(session, run, rows)
        unneeded = [row for row in settled if row.id not in kept]
    collected = [row for row in unneeded if _mark_collected(row.artifacts, now)]
    return RetainedArtifacts(
        files=frozenset(_files(rows)),
        settled=frozenset(row.name for row in settled if is_final(row.status)),
        known=frozenset(row.name for row in rows),
        collected=tuple(row.name for row in collected),
        is_past_retention=is_past_retention,
    )


def record_collection(
    session: Session, resource_id: str, removed: Iterable[str], message: str
) -> None:
    """Record in an event of the run or pool what was removed. Once: a sweep that was interrupted is
    repeated with the same files.

    Args:
        session: A writing session.
        resource_id: The run or pool.
        removed: Names of everything that was removed.
        message: The same in words.
    """
    work = locked(session, queue.of_resource(session, resource_id).id)
    digest = hashlib.sha256("\n".join(sorted(removed)).encode()).hexdigest()
    events.append_once(session, queue.resource(session, work), f"collection:{digest}", [message])


def claim(session: Session, trial_id: str) -> None:
    """Check that a trial's weights exist, and keep them from being collected until the transaction
    ends, which records what needs them: a teacher, an export, or the origin of a distillation.

    Raises:
        NotFoundError: There is no such trial.
        ConflictError: They were collected.
    """
    row = trials.get(session, trial_id)
    locked(session, queue.of_resource(session, row.run_id).id)
    for file in session.scalars(
        select(ArtifactRow)
        .where(ArtifactRow.trial_id == row.id)
        .execution_options(populate_existing=True)
    ):
        try:
            file.check_there()
        except CollectedError as error:
            raise ConflictError(str(error)) from error


def pin(session: Session, trial_id: str, *, pinned: bool) -> TrialRow:
    """Pin a trial, so that its weights are kept, or unpin it. Idempotent.

    Raises:
        NotFoundError: There is no such trial.
        ConflictError: The weights were collected.
    """
    if pinned:
        claim(session, trial_id)
    row = trials.get(session, trial_id)
    if row.pinned is not pinned:
        row.pinned = pinned
        message = "pinned by a user: its files are kept" if pinned else "unpinned by a user"
        events.append(session, row, message)
    return row


def _in_order_of_completion(session: Session, run_id: str) -> Sequence[TrialRow]:
    rows = session.scalars(
        select(TrialRow)
        .where(TrialRow.run_id == run_id)
        .options(selectinload(TrialRow.evaluations), selectinload(TrialRow.artifacts))
        .execution_options(populate_existing=True)
    ).all()
    return sorted(rows, key=lambda row: (row.completion is None, row.completion, row.position))


def _needed(session: Session, run: RunRow, rows: Sequence[TrialRow]) -> frozenset[str]:
    strategy = run.spec.strategy if isinstance(run.spec, SearchSpec) else None
    found = [_kept_trial(row, run.spec.score.accuracy) for row in rows]
    confirms = isinstance(run.spec, SearchSpec) and run.spec.confirm
    judged = completions.judged(session, run) if confirms else None
    return needed(
        found,
        descent=_descent(run),
        top_k=strategy.top_k if isinstance(strategy, _CLIMBERS) else DEFAULT_TOP_K,
        wanted=_wanted(session, {row.id for row in rows}),
        accepted=_accepted(run, found, judged.accepted) if judged else None,
        undecided=[_id(run, each) for each in judged.undecided] if judged else (),
    )


def _accepted(
    run: RunRow, found: Sequence[KeptTrial], accepted: Sequence[Completion]
) -> list[KeptTrial]:
    by_id = {trial.id: trial for trial in found}
    return [
        replace(
            by_id[_id(run, each)],
            score=each.score,
            points=each.points,
        )
        for each in ranking(accepted)
    ]


def _id(run: RunRow, completion: Completion) -> str:
    return trials.trial_id(run.id, completion.proposal.name)


def _descent(run: RunRow) -> Descent:
    """Return which trials later trials of the run may descend from, also after an extension. A
    pipeline or a distillation that succeeded has no later trials."""
    strategy = run.spec.strategy if isinstance(run.spec, SearchSpec) else None
    if isinstance(strategy, _CLIMBERS):
        return Descent.BEST
    is_done = run.status is SearchStatus.SUCCEEDED and not isinstance(strategy, RandomSpec)
    return Descent.NONE if is_done else Descent.ANY


def _kept_trial(row: TrialRow, kind: ApKind) -> KeptTrial:
    return KeptTrial(
        id=row.id,
        parent_id=row.parent_id,
        role=row.role,
        status=row.status,
        score=row.score,
        points=tuple(each.point(kind) for each in row.evaluations),
        pinned=row.pinned,
        finishes=isinstance(row.proposal.change, Finish),
    )


def _wanted(session: Session, ids: Collection[str]) -> frozenset[str]:
    """Return the ids of the trials that another run started from, that are teachers, or that are
    being exported."""
    origins = session.scalars(select(RunRow.origin_id).where(RunRow.origin_id.is_not(None)))
    teachers = session.scalars(select(TeacherRow).where(TeacherRow.status != TeacherStatus.FAILED))
    exported = session.scalars(
        select(ExportRow.trial_id).where(ExportRow.status == ExportStatus.EXPORTING)
    )
    return frozenset({*origins, *(row.spec.trial for row in teachers), *exported} & set(ids))


def _mark_collected(artifacts: Iterable[ArtifactRow], now: datetime) -> bool:
    """Record the weights among the artifacts as collected; return whether there were any."""
    found = [row for row in artifacts if row.name in WEIGHTS and row.deleted_at is None]
    for row in found:
        row.deleted_at = now
    return bool(found)


def _files(rows: Iterable[TrialRow]) -> Iterable[str]:
    return (file.uri for row in rows for file in row.artifacts if file.deleted_at is None)
