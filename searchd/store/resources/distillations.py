"""Distillations: created, planned, read. `searchd.store.work.queue` changes their status, and
`searchd.store.runs.trials` stores their trials."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.distillation_plan import Plan
from searchd.domain.errors import ConflictError, InvalidFieldError, NotFoundError
from searchd.domain.lifecycle import SearchStatus, TrialStatus, WorkKind
from searchd.domain.score import Cost
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.spec import DistillationSpec, check_subnets, subnets_of
from searchd.spec.remarks import check_warmups
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import DistillationRow, PoolRow, RunRow, TeacherRow, TrialRow
from searchd.store.paging import RunKey
from searchd.store.resources import creation, mask_fit, references, teacher_fit
from searchd.store.resources import teachers as registered_teachers
from searchd.store.runs import retention, trials
from searchd.store.runs.forecasts import train_images
from searchd.store.work.lease import Lease, hold


def create(
    session: Session,
    spec: DistillationSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> DistillationRow:
    """Create a distillation and queue it.

    Raises:
        ConflictError: The name is taken, the key was used for another body, or the data set, the
            pool, a teacher or the student's trial has failed.
        InvalidValueError: One of them does not exist, or they do not fit, or the data set has not
            the masks that the student's family needs.
    """
    row = creation.repeated(session, DistillationRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    dataset = references.dataset(session, spec.dataset)
    pool = None if spec.pool is None else references.pool(session, spec.pool)
    origin = None if spec.student.trial is None else _origin(session, spec, spec.student.trial)
    _check_pool(spec, pool, origin)
    detector = None if origin is None else origin.detector
    family = spec.head.family if detector is None else detector.family
    references.check_accuracy(spec.score, family)
    references.check_device(session, spec.score, family)
    mask_fit.check(dataset, family)
    _check_cost(session, spec, origin)
    for label, teacher in spec.teachers.items():
        if isinstance(teacher, str):
            references.teacher(session, teacher, spec.dataset, f"teachers.{label}")
    teacher_fit.check(session, spec, origin)
    check_warmups(spec, train_images(session, spec.dataset))
    row = DistillationRow(
        id=new_id("kd"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        dataset_id=dataset.id,
        pool_id=None if pool is None else pool.id,
        origin_id=None if origin is None else origin.id,
    )
    row.status = SearchStatus.QUEUED
    return creation.insert(session, row, WorkKind.DISTILLATION, "waits for admission")


def get(session: Session, reference: str) -> DistillationRow:
    """Return a distillation by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, DistillationRow, "distillation", reference)


def key(session: Session, reference: str) -> RunKey:
    """Return what identifies the present state of a distillation, by its id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.key(session, DistillationRow, "distillation", reference)


def registered(session: Session, spec: DistillationSpec) -> dict[str, TeacherRow]:
    """Return the registered teachers of a distillation, by the names that its order uses."""
    names = {label: each for label, each in spec.teachers.items() if isinstance(each, str)}
    found = registered_teachers.of_run(session, spec)
    return {label: found[name] for label, name in names.items()}


def teachers(session: Session, row: DistillationRow) -> dict[str, Teacher]:
    """Return the teachers of a distillation, by the names that its order uses."""
    spec = row.spec
    assert isinstance(spec, DistillationSpec)
    found: dict[str, Teacher] = {}
    if row.pool_id is not None:
        found.update(subnets_of(spec, session.get_one(PoolRow, row.pool_id).spec))
    for label, teacher in registered(session, spec).items():
        found[label] = RegisteredTeacher(teacher=teacher.id)
    return {name: found[name] for name in spec.teacher_names}


def record_plan(session: Session, lease: Lease, plan: Plan) -> None:
    """Store the plan of a distillation, which is final.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(RunRow, hold(session, lease).resource_id)
    row.plan = plan


def descended(session: Session, search_id: str) -> Sequence[DistillationRow]:
    """Return the distillations that start from a trial of the search, those that start from one of
    their trials, and so on. Each comes after the one that it starts from; else the oldest first."""
    found: list[DistillationRow] = []
    parents = [search_id]
    while parents:
        children = session.scalars(
            select(DistillationRow)
            .join(TrialRow, TrialRow.id == DistillationRow.origin_id)
            .where(TrialRow.run_id.in_(parents))
            .order_by(DistillationRow.created_at, DistillationRow.id)
        ).all()
        found += children
        parents = [child.id for child in children]
    return found


def keys_of_descended(session: Session, search_id: str) -> list[RunKey]:
    """Return the keys of the distillations of `descended`."""
    from_trials = select(DistillationRow.id).where(DistillationRow.origin_id.is_not(None)).limit(1)
    if session.scalar(from_trials) is None:
        return []
    return [paging.key_of(row) for row in descended(session, search_id)]


def _origin(session: Session, spec: DistillationSpec, trial_id: str) -> TrialRow:
    try:
        row = trials.get(session, trial_id)
    except NotFoundError as error:
        reason = f"trial {trial_id!r} does not exist"
        raise InvalidFieldError(("student.trial", reason)) from error
    if row.status is not TrialStatus.SUCCEEDED:
        raise ConflictError(f"trial {trial_id} is {row.status} and has no student")
    retention.claim(session, trial_id)
    dataset = session.get_one(RunRow, row.run_id).spec.dataset
    if dataset != spec.dataset:
        reason = (
            f"trial {trial_id!r} was trained on data set {dataset!r}, the distillation uses "
            f"{spec.dataset!r}; their classes differ"
        )
        raise InvalidFieldError(("student.trial", reason))
    return row


def _check_pool(spec: DistillationSpec, pool: PoolRow | None, origin: TrialRow | None) -> None:
    if pool is None:
        return
    if pool.spec.dataset != spec.dataset:
        reason = (
            f"pool {pool.name!r} is trained on data set {pool.spec.dataset!r}, the distillation "
            f"uses {spec.dataset!r}; teacher and student must know the same classes"
        )
        raise InvalidFieldError(("pool", reason))
    check_subnets(spec, pool.spec, teacher_fit.head_of(spec, origin))


def _check_cost(session: Session, spec: DistillationSpec, origin: TrialRow | None) -> None:
    """Check that the student's base has the cost that students are scored by."""
    if origin is None or spec.score.cost is Cost.MACS:
        return
    score = session.get_one(RunRow, origin.run_id).spec.score
    if (score.cost, score.device) != (spec.score.cost, spec.score.device):
        on = f" on {score.device}" if score.device else ""
        reason = (
            f"must not be {spec.score.cost}: trial {origin.id} was scored by {score.cost}{on}; "
            "give the same, or cost: macs"
        )
        raise InvalidFieldError(("score.cost", reason))
