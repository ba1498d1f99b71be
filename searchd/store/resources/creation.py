"""Creation of resources: idempotency, unique names, the first event."""

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import WorkKind
from searchd.spec import DatasetSpec
from searchd.store import events
from searchd.store.models.resources import (
    AnyResource,
    DatasetRow,
    DeviceRow,
    DistillationRow,
    ExportRow,
    PoolRow,
    SearchRow,
    TeacherRow,
)
from searchd.store.resources import removal
from searchd.store.work import queue
from searchd.store.work.lease import locked

R = TypeVar("R", DatasetRow, PoolRow, TeacherRow, ExportRow, DeviceRow, SearchRow, DistillationRow)


def repeated(
    session: Session, table: type[R], spec: object, key: str | None, owner: str | None
) -> R | None:
    """Return what an earlier request with this idempotency key created; None if there was none.

    There is none either if the earlier one has the same name, had another body and failed without
    any result, so that the key can be given again with a corrected body.

    Raises:
        ConflictError: The earlier request had another body or another owner.
    """
    if key is None:
        return None
    row = session.scalar(select(table).where(table.idempotency_key == key))
    if row is not None and row.owner != owner:
        raise ConflictError(
            f"Idempotency-Key {key!r} was used by {row.owner or 'another owner'}; use a new key"
        )
    if row is None or _is_same(row.spec, spec):
        return row
    if row.name != getattr(spec, "name", None) or not removal.is_replaceable(session, row):
        raise ConflictError(
            f"Idempotency-Key {key!r} was used for {row.name} with another body; use a new key"
        )
    return None


def insert(session: Session, row: R, kind: WorkKind, reason: str) -> R:
    """Add a new resource with its work and its first event.

    A resource of the same name and owner that failed without any result is replaced.

    Returns:
        The row; or that of the same request, if it was sent twice at the same time.

    Raises:
        ConflictError: The name is taken, or the key was used for another body in the meantime.
    """
    row.status_reason = reason
    row.num_events = 0
    old = session.scalar(select(type(row)).where(type(row).name == row.name))
    if old is not None and not _gives_way(session, old, row):
        return _earlier(session, row)
    if old is not None:
        removal.retire(session, old)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # the key or the name was taken after the checks
        if old is not None:
            raise _taken(row) from None
        return _earlier(session, row)
    priority = row.spec.priority if isinstance(row, SearchRow | DistillationRow) else 0
    queue.add(session, kind, row.id, priority=priority)
    events.append(session, row, reason)
    if old is not None:
        events.append(session, row, f"replaces {old.id} of the same name, which failed")
        removal.replace(session, old, row)
    session.refresh(row)
    return row


def _earlier(session: Session, row: R) -> R:
    """Return what the same request created after the check, if that has taken the name.

    Raises:
        ConflictError: Another request has taken the name.
    """
    earlier = repeated(session, type(row), row.spec, row.idempotency_key, row.owner)
    if earlier is None:
        raise _taken(row)
    return earlier


def _taken(row: AnyResource) -> ConflictError:
    noun = row.__tablename__
    return ConflictError(f"{noun} has a {row.name!r} already; names are unique, choose another")


def _gives_way(session: Session, old: AnyResource, row: AnyResource) -> bool:
    """Return whether a new resource may replace an old one of its name."""
    if old.owner != row.owner:
        return False
    locked(session, queue.of_resource(session, old.id).id)
    session.refresh(old)
    return removal.is_replaceable(session, old)


def _is_same(stored: object, requested: object) -> bool:
    """Return whether two requests are the same. A check of paths adds the test split."""
    if isinstance(stored, DatasetSpec) and stored.source is not None:
        stored = stored.model_copy(update={"test": None})
    return stored == requested
