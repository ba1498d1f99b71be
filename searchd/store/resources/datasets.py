"""Data sets: registered, checked, then ready for pools and searches; checked again, renamed,
deleted."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import DatasetStatus, TeacherStatus, WorkKind, WorkStatus
from searchd.domain.transitions import is_final
from searchd.spec import DatasetSpec, SplitSpec
from searchd.store import events, paging
from searchd.store.base import new_id
from searchd.store.models import DatasetRow, PoolRow, RunRow, TeacherRow, WorkRow
from searchd.store.resources import creation, removal
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold, locked
from searchd.store.work.transition import transition


def create(
    session: Session,
    spec: DatasetSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> DatasetRow:
    """Register a data set and queue its check.

    Raises:
        ConflictError: The name is taken, the key was used for another body, or a data set that was
            renamed has the annotation files that this one would have.
    """
    row = creation.repeated(session, DatasetRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    _check_files_are_free(session, spec)
    row = DatasetRow(
        id=new_id("d"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
    )
    row.status = DatasetStatus.CHECKING
    return creation.insert(
        session, row, WorkKind.DATASET_CHECK, "waits for its files to be checked"
    )


def get(session: Session, reference: str) -> DatasetRow:
    """Return a data set by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, DatasetRow, "data set", reference)


def record_ready(session: Session, lease: Lease, summary: dict[str, Any]) -> DatasetStatus:
    """Record that every check passed, and end the work. Failures use `queue.finish`.

    Args:
        session: A writing session.
        lease: The lease on the data set's check.
        summary: Result of the check as JSON: classes, counts and digest of each split, statistics,
            samples.

    Returns:
        READY; FAILED if the classes are others than at an earlier check and work uses them.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(DatasetRow, hold(session, lease).resource_id)
    changed = _changed_classes(session, row, summary)
    if changed:
        queue.finish(session, lease, DatasetStatus.FAILED, changed)
        return DatasetStatus.FAILED
    row.samples = {"samples": summary.get("samples", [])}
    row.summary = {name: value for name, value in summary.items() if name != "samples"}
    if row.spec.source is not None:
        row.spec = row.spec.model_copy(update={"test": _test_split(row.spec, summary)})
    queue.finish(session, lease, DatasetStatus.READY, "every check passed")
    return DatasetStatus.READY


def recheck(session: Session, reference: str) -> DatasetRow:
    """Queue another check of the data set's files. Does nothing while one is queued or running.

    What the last check found stays until the new one has passed.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: Work that uses it has started and not ended.
    """
    row, work = _locked(session, reference)
    if row.status is DatasetStatus.CHECKING:
        return row
    active = [user.name for user in removal.users(session, row) if _is_active(user)]
    if active:
        raise ConflictError(
            f"{row.name} is used by {', '.join(active)}, which must not see other files before it "
            "has ended; cancel it, or wait"
        )
    reason = "waits for its files to be checked again"
    transition(session, row, DatasetStatus.CHECKING, reason)
    transition(session, work, WorkStatus.QUEUED, reason, values={"attempts": 0})
    return row


def rename(session: Session, reference: str, name: str) -> DatasetRow:
    """Give the data set another name, also in the specs of everything that uses it.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: Another data set has the name.
    """
    row, _ = _locked(session, reference)
    if row.name == name:
        return row
    if session.scalar(select(DatasetRow.id).where(DatasetRow.name == name)):
        raise ConflictError(f"datasets has a {name!r} already; names are unique, choose another")
    old = row.name
    row.name, row.spec = name, row.spec.model_copy(update={"name": name})
    for user in removal.users(session, row):
        user.spec = user.spec.model_copy(update={"dataset": name})
    events.append(session, row, f"renamed from {old} to {name}")
    session.refresh(row)
    return row


def delete(session: Session, reference: str) -> str | None:
    """Delete a data set. Images and annotation files of users are not touched.

    Returns:
        The path or URI of the folder of annotation files that its check wrote; None if it wrote
        none.

    Raises:
        NotFoundError: It does not exist.
        ConflictError: It is being checked, or a pool, teacher, search or distillation uses it.
    """
    row, work = _locked(session, reference)
    if work.status is WorkStatus.LEASED:
        raise ConflictError(f"{row.name} is being checked; wait until its check has ended")
    removal.check_unused(session, row)
    folder = _own_folder(row.spec)
    removal.delete_rows(session, row)
    return folder


def _locked(session: Session, reference: str) -> tuple[DatasetRow, WorkRow]:
    row = get(session, reference)
    work = locked(session, queue.of_resource(session, row.id).id)
    session.refresh(row)
    return row, work


def _is_active(user: PoolRow | TeacherRow | RunRow) -> bool:
    """Return whether work has started and not ended."""
    has_started = user.started_at is not None or user.status is TeacherStatus.CHECKING
    return has_started and not is_final(user.status)


def _changed_classes(session: Session, row: DatasetRow, summary: dict[str, Any]) -> str:
    """Return why a check that passed cannot replace the earlier one; empty if it can."""
    if row.summary is None:
        return ""
    before, after = (", ".join(found["class_names"]) for found in (row.summary, summary))
    users = removal.users(session, row)
    names = [user.name for user in users if not removal.is_replaceable(session, user)]
    if before == after or not names:
        return ""
    return (
        f"the classes changed from {before} to {after}, and {', '.join(names)} know the earlier "
        "ones; add the new files as another data set"
    )


def _test_split(spec: DatasetSpec, summary: dict[str, Any]) -> SplitSpec | None:
    """Return where a check has written the test split; None if there is none."""
    if summary.get("test") is None:
        return None
    return spec.train.model_copy(
        update={"annotations": spec.train.annotations.with_name("test.json")}
    )


def _own_folder(spec: DatasetSpec) -> str | None:
    """Return the path or URI of the folder with the annotation files that the check writes."""
    if spec.shared is not None:
        return spec.shared.annotations
    return None if spec.source is None else str(spec.train.annotations.parent)


def _check_files_are_free(session: Session, spec: DatasetSpec) -> None:
    """Check that no data set of another name has the same annotation files.

    The folder is named after the data set and the request, so this needs a data set that was
    renamed.
    """
    folder = _own_folder(spec)
    if folder is None:
        return
    for other in session.scalars(select(DatasetRow).where(DatasetRow.name != spec.name)):
        if _own_folder(other.spec) == folder:
            raise ConflictError(
                f"data set {other.name!r} was made by the same request and renamed; choose another "
                f"name than {spec.name!r}"
            )
