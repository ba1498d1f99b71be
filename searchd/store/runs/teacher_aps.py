"""The APs of a search's teachers that are known before its first search trial."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.resolution import Resolution
from searchd.domain.teacher import RegisteredTeacher, TeacherAp
from searchd.domain.trial import BASE_NAME, TrialRole
from searchd.search.better_teachers import Comparison, too_weak
from searchd.spec import PoolSearchSpec, SearchSpec
from searchd.store.models import (
    DatasetRow,
    EvaluationRow,
    PoolRow,
    RunRow,
    SearchRow,
    TrialRow,
)
from searchd.store.resources import pools, teachers
from searchd.store.runs import trials
from searchd.store.work.lease import Lease, hold

_NUM_EARLIER = 100
"""The number of searches that are looked at for the base of a new one: the latest ones."""


def record(session: Session, lease: Lease) -> None:
    """Record the APs of the leased search's teachers as they are now. Has no effect on a run that
    has them, on one that has search trials already, and on a distillation.

    Later changes of what is known do not reach the search, so that its history can be replayed.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(RunRow, hold(session, lease).resource_id, populate_existing=True)
    if not isinstance(row.spec, SearchSpec) or row.teacher_aps is not None:
        return
    if not _has_search_trials(session, row):
        row.teacher_aps = tuple(measured(session, row.spec, row.pool_id))


def warning(session: Session, row: RunRow) -> str | None:
    """Return why the teachers of a search will hardly help, with what to do; None if the best of
    them is better than the base by a margin, and while that is not known."""
    spec = row.spec
    if not row.teacher_aps or not isinstance(spec, SearchSpec):
        return None
    if isinstance(spec.strategy, PoolSearchSpec):  # it has no students
        return None
    aps = {each.teacher: each.ap for each in row.teacher_aps}
    base = _base_ap(session, row.id, spec.trial.largest_resolution)
    return None if base is None else too_weak(Comparison(student_ap=base, aps=aps), pool=spec.pool)


def comparison(session: Session, row: RunRow) -> Comparison | None:
    """Return the teachers of a search as they are measured now, compared with its base; None while
    either is not known."""
    spec = row.spec
    if not isinstance(spec, SearchSpec):
        return None
    aps = {each.teacher: each.ap for each in measured(session, spec, row.pool_id)}
    base = _base_ap(session, row.id, spec.trial.largest_resolution)
    return None if base is None or not aps else Comparison(student_ap=base, aps=aps)


def forecast_warning(session: Session, spec: SearchSpec) -> str | None:
    """Return `warning` for a search that has not been submitted, as far as its teachers are ready
    and an earlier search on the data set had the same base and head; None otherwise.

    The search would be accepted, so all its teachers exist."""
    pool_id = session.scalar(select(PoolRow.id).where(PoolRow.name == spec.pool))
    aps = {each.teacher: each.ap for each in measured(session, spec, pool_id)}
    if not aps or isinstance(spec.strategy, PoolSearchSpec):
        return None
    base = _base_ap_of_earlier(session, spec)
    return None if base is None else too_weak(Comparison(student_ap=base, aps=aps), pool=spec.pool)


def measured(session: Session, spec: SearchSpec, pool_id: str | None) -> Iterator[TeacherAp]:
    """Yield the APs of the search's teachers that were measured at the largest resolution of its
    trials: evaluated subnets of its pool, then registered teachers."""
    at = spec.trial.largest_resolution
    for subnet in pools.subnet_evaluations(session, pool_id) if pool_id is not None else ():
        if subnet.resolution == at:
            yield TeacherAp(teacher=subnet.subnet, ap=subnet.ap)
    for teacher in teachers.of_run(session, spec).values():
        found = None if teacher.report is None else teacher.report.evaluation
        if found is not None and found.resolution == at:
            yield TeacherAp(teacher=RegisteredTeacher(teacher=teacher.id), ap=found.ap)


def _has_search_trials(session: Session, row: RunRow) -> bool:
    found = select(TrialRow.id).where(TrialRow.run_id == row.id, TrialRow.role == TrialRole.SEARCH)
    return session.scalar(found.limit(1)) is not None


def _base_ap_of_earlier(session: Session, spec: SearchSpec) -> float | None:
    """Return the AP of the same base in the latest search on the data set that trained it."""
    latest_first = (
        select(SearchRow)
        .join(DatasetRow, SearchRow.dataset_id == DatasetRow.id)
        .where(DatasetRow.name == spec.dataset)
        .order_by(SearchRow.created_at.desc())
        .limit(_NUM_EARLIER)
    )
    for row in session.scalars(latest_first):
        if isinstance(row.spec, SearchSpec) and (row.spec.base, row.spec.head) == (
            spec.base,
            spec.head,
        ):
            ap = _base_ap(session, row.id, spec.trial.largest_resolution)
            if ap is not None:
                return ap
    return None


def _base_ap(session: Session, run_id: str, at: Resolution) -> float | None:
    return session.scalar(
        select(EvaluationRow.ap).where(
            EvaluationRow.trial_id == trials.trial_id(run_id, BASE_NAME),
            EvaluationRow.width == at.width,
            EvaluationRow.height == at.height,
        )
    )
