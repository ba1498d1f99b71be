"""Removal of resources: deletion, and replacement of one that failed before it had a result."""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import TrialStatus
from searchd.domain.transitions import failed_without_result
from searchd.store.models import (
    ArtifactRow,
    BreakdownRow,
    DatasetRow,
    DeviceRow,
    EpochMetricsRow,
    EventRow,
    ExportRow,
    FrontPointRow,
    PoolRow,
    RunRow,
    SinkRow,
    SplitEvaluationRow,
    TeacherRow,
    TrialRow,
    WorkRow,
)
from searchd.store.models.resources import AnyResource
from searchd.store.models.trials import EvaluationRow
from searchd.store.work import queue
from searchd.store.work.lease import locked

_USERS: dict[type[AnyResource], Sequence[type[PoolRow | TeacherRow | RunRow]]] = {
    DatasetRow: (PoolRow, TeacherRow, RunRow),
    PoolRow: (TeacherRow, RunRow),
}
"""Tables that refer to a data set or a pool. Exports are missing: the run of their trial refers to
the data set too."""
_SHOWN = 5
"""Number of users that an error names."""


def users(session: Session, row: AnyResource) -> list[PoolRow | TeacherRow | RunRow]:
    """Return the pools, teachers and runs that refer to a data set, pool, teacher or device."""
    if isinstance(row, DeviceRow):
        return [run for run in session.scalars(select(RunRow)) if row.name == run.spec.score.device]
    if isinstance(row, TeacherRow):
        return [run for run in session.scalars(select(RunRow)) if row.name in run.spec.registered]
    found: list[PoolRow | TeacherRow | RunRow] = []
    for table in _USERS.get(type(row), ()):
        found += session.scalars(select(table).where(_refers(table, row)))
    return found


def check_unused(session: Session, row: AnyResource) -> None:
    """Check that nothing refers to a resource.

    Raises:
        ConflictError: Something does; the message names it.
    """
    found = [f"{_noun(user)} {user.name!r}" for user in users(session, row)]
    if found:
        listed = ", ".join(found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ConflictError(f"{row.name} is used by {listed}{more}, and cannot be deleted")


def is_replaceable(session: Session, row: AnyResource | RunRow) -> bool:
    """Return whether a new resource of its name may replace it: it failed without any result.

    The caller has locked its work. A result is an epoch, a measurement or a file. A data set has
    one if a check of it passed and something uses it.
    """
    return failed_without_result(row.status, has_result=_has_result(session, row))


def delete_failed(session: Session, row: AnyResource) -> None:
    """Delete a pool, teacher or run that failed without any result.

    Raises:
        ConflictError: It has another status, has a result, or is used.
    """
    locked(session, queue.of_resource(session, row.id).id)
    session.refresh(row)
    if not is_replaceable(session, row):
        raise ConflictError(
            f"{row.name} is {row.status}; only what failed before its first result can be deleted"
        )
    check_unused(session, row)
    delete_rows(session, row)


def retire(session: Session, row: AnyResource) -> None:
    """Take name and key from a resource that is to be replaced, so that the new one can have
    them."""
    row.name = f"~{row.id}"  # no user can give a name with this character
    row.idempotency_key = None
    session.flush()


def replace(session: Session, old: AnyResource, new: AnyResource) -> None:
    """Let everything that referred to a retired resource refer to the new one; delete the old."""
    for table in _USERS.get(type(old), ()):
        column = "dataset_id" if isinstance(old, DatasetRow) else "pool_id"
        session.execute(
            update(table)
            .where(_refers(table, old))
            .values({column: new.id})
            .execution_options(synchronize_session=False)
        )
    delete_rows(session, old)


def delete_rows(session: Session, row: AnyResource) -> None:
    """Delete a resource, with its work, events, trials and their exports."""
    session.flush()
    trials = select(TrialRow.id).where(TrialRow.run_id == row.id)
    for export in session.scalars(select(ExportRow).where(ExportRow.trial_id.in_(trials))).all():
        delete_rows(session, export)
    evaluations = select(EvaluationRow.id).where(EvaluationRow.trial_id.in_(trials))
    for of_evaluation in (SplitEvaluationRow, BreakdownRow):
        session.execute(delete(of_evaluation).where(of_evaluation.evaluation_id.in_(evaluations)))
    session.execute(delete(FrontPointRow).where(FrontPointRow.run_id == row.id))
    for of_trial in (EvaluationRow, EpochMetricsRow, ArtifactRow):
        session.execute(delete(of_trial).where(of_trial.trial_id.in_(trials)))
    session.execute(delete(TrialRow).where(TrialRow.run_id == row.id))
    session.execute(delete(SinkRow).where(SinkRow.run_id == row.id))
    session.execute(delete(EventRow).where(EventRow.resource_id == row.id))
    session.execute(delete(WorkRow).where(WorkRow.resource_id == row.id))
    table = RunRow if isinstance(row, RunRow) else type(row)
    session.execute(delete(table).where(table.id == row.id))
    session.expire_all()


def _has_result(session: Session, row: AnyResource | RunRow) -> bool:
    if isinstance(row, DatasetRow):
        return row.summary is not None and bool(users(session, row))
    if isinstance(row, TeacherRow):
        return row.report is not None or bool(row.progress and row.progress.epochs)
    if isinstance(row, ExportRow | DeviceRow):
        return row.report is not None
    if isinstance(row, PoolRow):
        is_past_first = row.progress is not None and (
            row.progress.epoch > 1 or row.progress.phase != row.spec.phases[0].name
        )
        return is_past_first or _any(
            session, EpochMetricsRow.pool_id == row.id, ArtifactRow.pool_id == row.id
        )
    return any(_is_result(session, trial) for trial in _trials(session, row))


def _is_result(session: Session, trial: TrialRow) -> bool:
    has_epoch = trial.progress is not None and trial.progress.epoch > 1
    ended = trial.status in (TrialStatus.SUCCEEDED, TrialStatus.SKIPPED)
    return (
        has_epoch
        or ended
        or _any(
            session,
            EpochMetricsRow.trial_id == trial.id,
            ArtifactRow.trial_id == trial.id,
            EvaluationRow.trial_id == trial.id,
        )
    )


def _any(session: Session, *conditions: ColumnElement[bool]) -> bool:
    return bool(session.scalar(select(or_(*(exists().where(each) for each in conditions)))))


def _trials(session: Session, row: AnyResource | RunRow) -> Iterator[TrialRow]:
    return iter(session.scalars(select(TrialRow).where(TrialRow.run_id == row.id)))


def _refers(
    table: type[PoolRow | TeacherRow | RunRow], row: DatasetRow | PoolRow | AnyResource
) -> ColumnElement[bool]:
    if isinstance(row, DatasetRow):
        return table.dataset_id == row.id
    assert not issubclass(table, PoolRow)  # a pool refers to no pool
    return table.pool_id == row.id


def _noun(row: PoolRow | TeacherRow | RunRow) -> str:
    if isinstance(row, RunRow):
        return row.kind
    return "pool" if isinstance(row, PoolRow) else "teacher"
