"""Archiving: what has ended is left out of lists, and otherwise stays as it is."""

from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.transitions import is_final
from searchd.store import events
from searchd.store.base import now
from searchd.store.models.resources import AnyArchivable
from searchd.store.work import queue
from searchd.store.work.lease import locked


def archive(session: Session, row: AnyArchivable) -> None:
    """Leave a resource out of lists. Its name stays taken, and its files stay. Repeating the call
    changes nothing.

    Args:
        session: A writing session.
        row: What is archived.

    Raises:
        ConflictError: It has not ended.
    """
    _lock(session, row)
    if not is_final(row.status):
        raise ConflictError(
            f"{row.name} is {row.status}; only what has ended can be archived, cancel it first"
        )
    if row.archived_at is None:
        row.archived_at = now()
        events.append(session, row, "archived by a user")


def unarchive(session: Session, row: AnyArchivable) -> None:
    """List a resource again. Repeating the call changes nothing."""
    _lock(session, row)
    if row.archived_at is not None:
        row.archived_at = None
        events.append(session, row, "listed again by a user")


def _lock(session: Session, row: AnyArchivable) -> None:
    """Let the status stay what it is until the end of the transaction."""
    locked(session, queue.of_resource(session, row.id).id)
    session.refresh(row)
