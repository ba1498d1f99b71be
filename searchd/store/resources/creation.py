"""Creation of resources: idempotency, unique names, the first event."""

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import WorkKind
from searchd.store import events
from searchd.store.models.resources import (
    DatasetRow,
    DistillationRow,
    PoolRow,
    SearchRow,
    TeacherRow,
)
from searchd.store.work import queue

R = TypeVar("R", DatasetRow, PoolRow, TeacherRow, SearchRow, DistillationRow)


def repeated(
    session: Session, table: type[R], spec: object, key: str | None, owner: str | None
) -> R | None:
    """Return what an earlier request with this idempotency key created; None if there was none.

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
    if row is not None and row.spec != spec:
        raise ConflictError(
            f"Idempotency-Key {key!r} was used for {row.name} with another body; use a new key"
        )
    return row


def insert(session: Session, row: R, kind: WorkKind, reason: str) -> R:
    """Add a new resource with its work and its first event.

    Returns:
        The row; or that of the same request, if it was sent twice at the same time.

    Raises:
        ConflictError: The name is taken, or the key was used for another body in the meantime.
    """
    row.status_reason = reason
    row.num_events = 0
    if session.scalar(select(type(row).id).where(type(row).name == row.name)):
        return _earlier(session, row)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:  # the key or the name was taken after the checks
        return _earlier(session, row)
    queue.add(session, kind, row.id)
    events.append(session, row, reason)
    session.refresh(row)
    return row


def _earlier(session: Session, row: R) -> R:
    """Return what the same request created after the check, if that has taken the name.

    Raises:
        ConflictError: Another request has taken the name.
    """
    earlier = repeated(session, type(row), row.spec, row.idempotency_key, row.owner)
    if earlier is None:
        noun = row.__tablename__
        raise ConflictError(f"{noun} has a {row.name!r} already; names are unique, choose another")
    return earlier
