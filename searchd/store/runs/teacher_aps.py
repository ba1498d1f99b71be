"""The APs of a search's teachers that are known before its first search trial."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.teacher import RegisteredTeacher, TeacherAp
from searchd.domain.trial import BASE_NAME, TrialRole
from searchd.search.better_teachers import Comparison, too_weak
from searchd.spec import PoolSearchSpec, SearchSpec
from searchd.store.models import EvaluationRow, RunRow, TrialRow
from searchd.store.resources import pools, teachers
from searchd.store.runs import trials
from searchd.store.work.lease import Lease, hold


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
    base = session.scalar(
        select(EvaluationRow.ap).where(
            EvaluationRow.trial_id == trials.trial_id(row.id, BASE_NAME),
            EvaluationRow.width == spec.trial.largest_resolution.width,
            EvaluationRow.height == spec.trial.largest_resolution.height,
        )
    )
    if base is None:
        return None
    aps = {each.teacher: each.ap for each in row.teacher_aps}
    return too_weak(Comparison(student_ap=base, aps=aps), pool=spec.pool)


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
