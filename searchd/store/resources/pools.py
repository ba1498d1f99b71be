"""Elastic teacher pools: created, trained, then ready for searches."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import PoolStatus, WorkKind, is_final
from searchd.domain.trial import Outcome
from searchd.messages.files import SUPERNET
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolRef
from searchd.spec import PoolSpec
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import (
    ArtifactRow,
    Desired,
    EpochMetricsRow,
    PoolRow,
    SubnetEvaluationRow,
)
from searchd.store.models.measurements import measured
from searchd.store.resources import creation, references
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold


def create(
    session: Session,
    spec: PoolSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> PoolRow:
    """Create a pool and queue its training.

    Raises:
        ConflictError: The name is taken, the key was used for another body, or the data set has
            failed its check.
        InvalidValueError: The data set does not exist.
    """
    row = creation.repeated(session, PoolRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    row = PoolRow(
        id=new_id("p"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        dataset_id=references.dataset(session, spec.dataset).id,
    )
    row.status = PoolStatus.QUEUED
    return creation.insert(session, row, WorkKind.POOL, "waits to be admitted")


def get(session: Session, reference: str) -> PoolRow:
    """A pool by id or name.

    Raises:
        NotFoundError: There is none.
    """
    return paging.get(session, PoolRow, "pool", reference)


def page(
    session: Session,
    *,
    status: PoolStatus | None = None,
    page_size: int = 50,
    page_token: str | None = None,
) -> paging.Page[PoolRow]:
    """Pools, newest first.

    Raises:
        InvalidValueError: `page_size` or `page_token` is not legal.
    """
    return paging.newest_first(session, PoolRow, status, page_size, page_token)


def record_progress(session: Session, lease: Lease, progress: PoolProgress) -> None:
    """Remember where the pool's training stands; shows too that it gets on.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    held = hold(session, lease)
    session.get_one(PoolRow, held.resource_id).progress = progress


def record_report(session: Session, lease: Lease, report: PoolReport) -> PoolRow:
    """Store what the training learned and end the work: READY or FAILED.

    A training that stopped is PAUSED, CANCELLED or queued again, as the user wants by now.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    held = hold(session, lease)
    row = session.get_one(PoolRow, held.resource_id)
    if report.outcome is Outcome.STOPPED:
        if held.desired in (Desired.CANCEL, Desired.KILL):
            _store(session, row, report)
        queue.stopped(session, lease)
        return row
    _store(session, row, report)
    status, reason = _result(report)
    queue.finish(session, lease, status, reason)
    return row


def supernet(session: Session, pool_id: str) -> ArtifactRow | None:
    """The trained supernet's file, if there is one."""
    return session.scalar(
        select(ArtifactRow).where(ArtifactRow.pool_id == pool_id, ArtifactRow.name == SUPERNET)
    )


def reference(session: Session, pool_id: str) -> PoolRef:
    """The pool as a worker finds it.

    Raises:
        ConflictError: The pool is not READY.
    """
    row = get(session, pool_id)
    artifact = supernet(session, row.id)
    if row.status is not PoolStatus.READY or artifact is None:
        raise ConflictError(f"pool {row.name} is {row.status}, not ready: {row.status_reason}")
    return PoolRef(
        supernet=artifact.artifact,
        space=row.spec.space,
        head=row.spec.head,
        bn_reset_images=row.spec.bn_reset_images,
    )


def subnet_evaluations(session: Session, pool_id: str) -> Sequence[SubnetEvaluationRow]:
    """How the pool's evaluated subnets did."""
    return session.scalars(
        select(SubnetEvaluationRow)
        .where(SubnetEvaluationRow.pool_id == pool_id)
        .order_by(SubnetEvaluationRow.id)
    ).all()


def epochs(session: Session, pool_id: str) -> Sequence[EpochMetricsRow]:
    """The pool's epochs, phase by phase."""
    return session.scalars(
        select(EpochMetricsRow)
        .where(EpochMetricsRow.pool_id == pool_id)
        .order_by(EpochMetricsRow.id)
    ).all()


def _store(session: Session, row: PoolRow, report: PoolReport) -> None:
    assert not is_final(row.status)  # a held work's resource has not ended
    if report.supernet is not None:
        artifact = ArtifactRow.of(report.supernet)
        artifact.name, artifact.pool_id = SUPERNET, row.id
        session.add(artifact)
    for epoch in report.epochs:
        metrics = EpochMetricsRow.of(epoch.metrics)
        metrics.pool_id, metrics.phase = row.id, epoch.phase
        session.add(metrics)
    for evaluated in report.subnets:
        for evaluation in evaluated.evaluations:
            columns = measured(evaluation)
            session.add(
                SubnetEvaluationRow(
                    pool_id=row.id, subnet=evaluated.subnet, params=evaluated.params, **columns
                )
            )


def _result(report: PoolReport) -> tuple[PoolStatus, str]:
    match report.outcome:
        case Outcome.SUCCEEDED:
            return PoolStatus.READY, f"trained; {len(report.subnets)} subnets evaluated"
        case _:
            return PoolStatus.FAILED, f"{report.cause or report.outcome}: {report.reason}"
