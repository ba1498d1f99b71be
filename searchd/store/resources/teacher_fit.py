"""Whether the methods of a search or a distillation fit its registered teachers."""

from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidValueError
from searchd.domain.method_fit import Traits, traits
from searchd.spec import (
    DistillationSpec,
    HeadSpec,
    SearchSpec,
    check_registered,
    check_teacher,
    traits_of,
)
from searchd.store.models import PoolRow, RunRow, TeacherRow, TrialRow
from searchd.store.resources import teachers


def check(
    session: Session, spec: SearchSpec | DistillationSpec, origin: TrialRow | None = None
) -> None:
    """Check that the methods fit every registered teacher, as far as it is known: mmdet's config
    of a teacher that was not evaluated yet is read by a worker.

    Args:
        session: A reading session.
        spec: The search or the distillation; its teachers exist.
        origin: The finished trial whose student a distillation starts from, if it does.

    Raises:
        InvalidValueError: A method does not fit; the message names teacher, method and reason.
    """
    rows = teachers.of_run(session, spec)
    if isinstance(spec, SearchSpec):
        for name, row in rows.items():
            check_teacher(spec, name, known_traits(session, row))
        return
    for label, teacher in spec.teachers.items():
        if isinstance(teacher, str):
            found = known_traits(session, rows[teacher])
            check_registered(spec, label, head_of(spec, origin), found)


def head_of(spec: DistillationSpec, origin: TrialRow | None) -> HeadSpec:
    """Return the head of a distillation's student.

    Args:
        spec: The distillation.
        origin: The finished trial whose student it starts from, if it does.
    """
    if origin is None or origin.detector is None:
        return spec.head
    return HeadSpec.of(origin.detector)


def misfit(session: Session, run: RunRow) -> str | None:
    """Return why an evaluated teacher does not fit a queued run; None if all fit."""
    origin = None if run.origin_id is None else session.get_one(TrialRow, run.origin_id)
    try:
        check(session, run.spec, origin)
    except InvalidValueError as error:
        return str(error)
    return None


def known_traits(session: Session, row: TeacherRow) -> Traits | None:
    """Return what decides which methods fit a teacher; None if it is not known before the teacher
    was built."""
    spec = row.spec
    if row.report is not None:
        return row.report.traits
    if spec.train is not None:
        return spec.train.traits
    if spec.trial is not None:
        trial = session.get(TrialRow, spec.trial)
        return None if trial is None or trial.detector is None else traits(trial.detector)
    if spec.subnet is not None:
        neck = spec.subnet.subnet.neck_channels
        return traits_of(session.get_one(PoolRow, row.pool_id).spec.head, neck_channels=(neck,))
    return None
