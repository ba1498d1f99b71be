"""Searches: created and read. `searchd.store.work.queue` changes their status."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidFieldError
from searchd.domain.lifecycle import SearchStatus, TrialStatus, WorkKind
from searchd.domain.trial import TrialRole
from searchd.search.finishing import answer
from searchd.spec import SearchSpec, check_pool
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import PoolRow, SearchRow, TrialRow
from searchd.store.paging import RunKey
from searchd.store.resources import creation, mask_fit, method_choice, references, teacher_fit
from searchd.store.runs import completions, trials

ACTIVE = (
    SearchStatus.PREPARING,
    SearchStatus.RUNNING,
    SearchStatus.PAUSING,
    SearchStatus.CANCELLING,
)
"""The statuses of a run that was admitted and has neither ended nor been paused."""


def create(
    session: Session,
    spec: SearchSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> SearchRow:
    """Create a search and queue it.

    Raises:
        ConflictError: The name is taken, the key was used for another body, the data set, the pool
            or a teacher has failed, or the device has no lookup table.
        InvalidValueError: One of them does not exist, or the pool or a teacher does not fit, or the
            data set has not the masks that the student's family needs, or the methods to search
            cannot be chosen.
    """
    spec = method_choice.completed(session, spec)
    row = creation.repeated(session, SearchRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    dataset = references.dataset(session, spec.dataset)
    pool = None if spec.pool is None else references.pool(session, spec.pool)
    if pool is not None:
        _check_fit(spec, pool)
    references.check_accuracy(spec.score, spec.head.family)
    references.check_device(session, spec.score, spec.head.family)
    mask_fit.check(dataset, spec.head.family)
    for index, name in enumerate(spec.registered):
        references.teacher(session, name, spec.dataset, f"teachers.registered[{index}]")
    teacher_fit.check(session, spec)
    row = SearchRow(
        id=new_id("s"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        dataset_id=dataset.id,
        pool_id=None if pool is None else pool.id,
    )
    row.status = SearchStatus.QUEUED
    return creation.insert(session, row, WorkKind.SEARCH, "waits for admission")


def get(session: Session, reference: str) -> SearchRow:
    """Return a search by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, SearchRow, "search", reference)


def key(session: Session, reference: str) -> RunKey:
    """Return what identifies the present state of a search, by its id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.key(session, SearchRow, "search", reference)


def trial_counts(session: Session, search_id: str) -> Mapping[TrialStatus, int]:
    """Return the number of trials of the search in each status, base and controls included."""
    rows = session.execute(
        select(TrialRow.status, func.count())
        .where(TrialRow.run_id == search_id)
        .group_by(TrialRow.status)
    )
    return dict(rows.all())


def best_trial(session: Session, search_id: str) -> tuple[TrialRow, float] | None:
    """Return the best detector: the accepted search trial, or the finishing training, with the best
    score, and its score. The score of a confirmed trial is its mean; among equal scores, the first
    that was accepted is returned. None if there is none."""
    search = session.get_one(SearchRow, search_id)
    assert isinstance(search.spec, SearchSpec)
    if search.spec.confirm:
        best = answer(completions.ended(session, search).accepted)
        if best is None or best.score is None:
            return None
        return trials.get(session, trials.trial_id(search_id, best.proposal.name)), best.score
    row = session.scalar(
        select(TrialRow)
        .where(
            TrialRow.run_id == search_id,
            TrialRow.role.in_((TrialRole.SEARCH, TrialRole.FINISH)),
            TrialRow.status == TrialStatus.SUCCEEDED,
        )
        .order_by(TrialRow.score.desc(), TrialRow.completion)
        .limit(1)
    )
    return None if row is None or row.score is None else (row, row.score)


def _check_fit(spec: SearchSpec, pool: PoolRow) -> None:
    if pool.spec.dataset != spec.dataset:
        reason = (
            f"pool {pool.name!r} is trained on data set {pool.spec.dataset!r}, the search uses "
            f"{spec.dataset!r}; teacher and student must know the same classes"
        )
        raise InvalidFieldError(("pool", reason))
    check_pool(spec, pool.spec)
