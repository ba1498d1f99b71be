"""Registered teachers: created, trained or loaded, evaluated once, then used by searches and
distillations."""

from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidFieldError, NotFoundError
from searchd.domain.lifecycle import TeacherStatus, WorkKind
from searchd.domain.trial import Outcome
from searchd.messages.reports import TeacherProgress, TeacherReport, TeacherTrainingReport
from searchd.messages.tasks import Inherited, TeacherRef
from searchd.spec import DistillationSpec, PoolSubnetSpec, SearchSpec, TeacherSpec
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import DatasetRow, PoolRow, RunRow, TeacherRow
from searchd.store.resources import creation, mask_fit, references
from searchd.store.runs import retention, trials
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold


def create(
    session: Session,
    spec: TeacherSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> TeacherRow:
    """Register a teacher and queue its evaluation, or its training.

    Raises:
        ConflictError: The name is taken, the key was used for another body, the data set or the
            pool has failed, or the trial has no student.
        InvalidValueError: The data set, the pool or the trial does not exist, the subnet is not in
            the pool, pool or trial belong to another data set, or the data set has not the masks
            that the trained family needs.
    """
    row = creation.repeated(session, TeacherRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    dataset = references.dataset(session, spec.dataset)
    family = mask_fit.trained_family(spec)
    if family is not None:
        mask_fit.check(dataset, family)
    pool = None if spec.subnet is None else _pool(session, spec.subnet, dataset)
    if spec.trial is not None:
        _check_trial(session, spec.trial, dataset)
    row = TeacherRow(
        id=new_id("t"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        dataset_id=dataset.id,
        pool_id=None if pool is None else pool.id,
    )
    if spec.train is not None:
        row.status = TeacherStatus.QUEUED
        return creation.insert(session, row, WorkKind.TEACHER_TRAINING, "waits for admission")
    row.status = TeacherStatus.CHECKING
    return creation.insert(session, row, WorkKind.TEACHER, "waits to be loaded and evaluated")


def get(session: Session, reference: str) -> TeacherRow:
    """Return a teacher by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, TeacherRow, "teacher", reference)


def of_run(session: Session, spec: SearchSpec | DistillationSpec) -> dict[str, TeacherRow]:
    """Return the registered teachers of a search or a distillation by name, in its order."""
    rows = session.scalars(select(TeacherRow).where(TeacherRow.name.in_(spec.registered)))
    by_name = {row.name: row for row in rows}
    return {name: by_name[name] for name in spec.registered}


def record_report(session: Session, lease: Lease, report: TeacherReport) -> TeacherRow:
    """Store the result of the evaluation: READY, and the work is done. Failures use
    `queue.finish`.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(TeacherRow, hold(session, lease).resource_id)
    row.report = report
    measured = report.evaluation
    done = f"trained for {len(report.epochs)} epochs" if report.epochs else "evaluated"
    queue.finish(
        session,
        lease,
        TeacherStatus.READY,
        f"{done}: AP {measured.ap:.3f} at {measured.resolution}",
    )
    return row


def record_progress(session: Session, lease: Lease, progress: TeacherProgress) -> None:
    """Store the progress of a training, and its notes and finished epochs as events, once each.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(TeacherRow, hold(session, lease).resource_id)
    num_known = 0 if row.progress is None else len(row.progress.epochs)
    row.progress = progress
    if progress.notes:
        queue.record_once(session, lease, "notes", progress.notes)
    for epoch in progress.epochs[num_known:]:
        ordered = sorted(epoch.losses.items(), key=lambda each: each[0] != "loss")  # the sum first
        losses = ", ".join(f"{name} {value:.3g}" for name, value in ordered)
        message = f"epoch {epoch.epoch} of {progress.num_epochs}: {losses}"
        queue.record_once(session, lease, f"epoch:{epoch.epoch}", [message])


def record_training(session: Session, lease: Lease, report: TeacherTrainingReport) -> TeacherRow:
    """Store the result of a training and end the work: READY or FAILED.

    If the training was stopped, the teacher becomes PAUSED, CANCELLED or QUEUED, as is desired by
    now.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(TeacherRow, hold(session, lease).resource_id)
    if report.outcome is Outcome.STOPPED:
        queue.stopped(session, lease)
    elif report.result is not None:
        return record_report(session, lease, report.result)
    else:
        cause = "" if report.cause is None else f"{report.cause}: "
        queue.finish(session, lease, TeacherStatus.FAILED, cause + report.reason)
    return row


def reference(session: Session, teacher: str) -> TeacherRef:
    """Return the teacher, by id or name, as workers refer to it.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: It is not READY.
    """
    row = get(session, teacher)
    if row.report is None:
        raise ConflictError(f"teacher {row.name} is {row.status}, not ready: {row.status_reason}")
    found = row.report
    return TeacherRef(
        detector=found.detector,
        weights=found.weights,
        aps={found.evaluation.resolution: found.evaluation.ap},
    )


def student(session: Session, trial: str) -> Inherited:
    """Return the student of a finished trial, by the trial's id, for use as a teacher.

    Raises:
        InvalidValueError: There is no such trial.
        ConflictError: It has no student, since it has not succeeded.
    """
    try:
        row = trials.get(session, trial)
    except NotFoundError as error:
        reason = f"trial {trial!r} does not exist; give the id that its search lists"
        raise InvalidFieldError(("trial", reason)) from error
    return trials.inherited(session, row.id)


def _pool(session: Session, source: PoolSubnetSpec, dataset: DatasetRow) -> PoolRow:
    pool = references.pool(session, source.pool, "subnet.pool")
    if pool.dataset_id != dataset.id:
        reason = (
            f"pool {pool.name!r} is trained on data set {pool.spec.dataset!r}, not on "
            f"{dataset.name!r}; a teacher must know the classes of its data set"
        )
        raise InvalidFieldError(("subnet.pool", reason))
    pool.spec.space.space.check(source.subnet)
    return pool


def _check_trial(session: Session, trial: str, dataset: DatasetRow) -> None:
    with suppress(NotFoundError):  # `student` raises an error that names the field of the spec
        retention.claim(session, trial)
    student(session, trial)
    run = session.get_one(RunRow, trials.get(session, trial).run_id)
    if run.dataset_id != dataset.id:
        reason = (
            f"trial {trial!r} is of {run.name!r}, which uses data set {run.spec.dataset!r} and not "
            f"{dataset.name!r}; a teacher must know the classes of its data set"
        )
        raise InvalidFieldError(("trial", reason))
