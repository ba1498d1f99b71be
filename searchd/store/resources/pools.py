"""Elastic teacher pools: created, trained, then ready for searches."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import PoolStatus, WorkKind
from searchd.domain.transitions import is_final
from searchd.domain.trial import Artifact, Outcome
from searchd.messages.files import SUPERNET
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolRef
from searchd.spec import PoolSpec, check_start
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
        ConflictError: The name is taken, the key was used for another body, the data set has
            failed its check, or the pool that it starts from is not trained.
        InvalidValueError: The data set, or the pool that it starts from, does not exist, or that
            pool does not fit.
    """
    row = creation.repeated(session, PoolRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    if spec.start_from is not None:
        start = references.pool(session, spec.start_from, "start_from")
        check_start(spec, start.spec)
        reference(session, start.id)
    row = PoolRow(
        id=new_id("p"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        dataset_id=references.dataset(session, spec.dataset).id,
    )
    row.status = PoolStatus.QUEUED
    return creation.insert(session, row, WorkKind.POOL, "waits for admission")


def get(session: Session, reference: str) -> PoolRow:
    """Return a pool by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, PoolRow, "pool", reference)


def record_progress(session: Session, lease: Lease, progress: PoolProgress) -> None:
    """Store the progress of the pool's training.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    held = hold(session, lease)
    session.get_one(PoolRow, held.resource_id).progress = progress


def record_report(session: Session, lease: Lease, report: PoolReport) -> PoolRow:
    """Store the result of the training and end the work: READY or FAILED.

    If the training was stopped, the pool becomes PAUSED, CANCELLED or QUEUED, as is desired by now.

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
    status, reason = _result(report, row.spec)
    queue.finish(session, lease, status, reason)
    return row


def supernet(session: Session, pool_id: str) -> ArtifactRow | None:
    """Return the file of the trained supernet; None if there is none."""
    return session.scalar(
        select(ArtifactRow).where(ArtifactRow.pool_id == pool_id, ArtifactRow.name == SUPERNET)
    )


def reference(session: Session, pool_id: str) -> PoolRef:
    """Return the pool as workers refer to it.

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


def start_of(session: Session, spec: PoolSpec) -> Artifact | None:
    """Return the supernet from which the training of a pool starts; None if it starts anew."""
    return None if spec.start_from is None else reference(session, spec.start_from).supernet


def subnet_evaluations(session: Session, pool_id: str) -> Sequence[SubnetEvaluationRow]:
    """Return the evaluations of the pool's subnets."""
    return session.scalars(
        select(SubnetEvaluationRow)
        .where(SubnetEvaluationRow.pool_id == pool_id)
        .order_by(SubnetEvaluationRow.id)
    ).all()


def epochs(session: Session, pool_id: str) -> Sequence[EpochMetricsRow]:
    """Return the metrics of the pool's epochs, phase by phase."""
    return session.scalars(
        select(EpochMetricsRow)
        .where(EpochMetricsRow.pool_id == pool_id)
        .order_by(EpochMetricsRow.id)
    ).all()


def _store(session: Session, row: PoolRow, report: PoolReport) -> None:
    assert not is_final(row.status)  # the resource of leased work has not ended
    if report.supernet is not None:
        artifact = ArtifactRow.of(report.supernet)
        artifact.name, artifact.pool_id = SUPERNET, row.id
        session.add(artifact)
    for epoch in report.epochs:
        metrics = EpochMetricsRow.of(epoch.metrics)
        metrics.pool_id, metrics.phase = row.id, epoch.phase
        metrics.subnets = epoch.subnets or None
        session.add(metrics)
    for evaluated in report.subnets:
        for evaluation in evaluated.evaluations:
            columns = measured(evaluation)
            session.add(
                SubnetEvaluationRow(
                    pool_id=row.id, subnet=evaluated.subnet, params=evaluated.params, **columns
                )
            )


def _result(report: PoolReport, spec: PoolSpec) -> tuple[PoolStatus, str]:
    match report.outcome:
        case Outcome.SUCCEEDED:
            made = "trained" if spec.source is None else f"imported from {spec.source}"
            evaluated = f"{made}; {len(report.subnets)} subnets evaluated"
            return PoolStatus.READY, "; ".join((evaluated, *report.notes))
        case _:
            return PoolStatus.FAILED, f"{report.cause or report.outcome}: {report.reason}"
