"""Events: appended with every change of a status, read in order by clients that watch."""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Select, bindparam, exists, insert, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from searchd.domain.lifecycle import AnyStatus
from searchd.store.models import (
    DatasetRow,
    DeviceRow,
    EventRow,
    ExportRow,
    PoolRow,
    RunRow,
    TeacherRow,
    TrialRow,
)

Subject = DatasetRow | PoolRow | TeacherRow | ExportRow | DeviceRow | RunRow | TrialRow
"""What an event is about: a resource, or a trial of one."""
_INSERT = insert(EventRow.__table__)  # type: ignore[arg-type]


def append(
    session: Session,
    subject: Subject,
    message: str,
    *,
    status: AnyStatus | None = None,
    key: str | None = None,
) -> None:
    """Record an event under the next number of the resource's log. Locks the resource's row.

    Args:
        session: A writing session.
        subject: A resource; or a trial, whose events are in the log of its run.
        message: What happened, in words.
        status: The subject's status from now on. None: the one that the row shows.
        key: Of an event that is recorded once; see `append_once`.
    """
    session.flush()
    table = RunRow if isinstance(subject, TrialRow) else type(subject)
    resource_id = subject.run_id if isinstance(subject, TrialRow) else subject.id
    connection = session.connection()
    number = connection.execute(_numbering(table), {"of": resource_id}).scalar_one()
    event = {
        "resource_id": resource_id,
        "number": number,
        "subject": subject.id,
        "status": (status or subject.status).value,
        "message": message,
        "key": key,
    }
    connection.execute(_INSERT, event)


@cache
def _numbering(table: type[Subject]) -> ReturningUpdate[tuple[int]]:
    """Return the statement that counts one more event of a resource and returns their number. It is
    built once, since every change of a status needs it."""
    columns = table.__table__.c
    return (
        update(table.__table__)  # type: ignore[arg-type]
        .where(columns.id == bindparam("of"))
        .values(num_events=columns.num_events + 1)
        .returning(columns.num_events)
    )


def append_once(
    session: Session,
    resource: DatasetRow | PoolRow | TeacherRow | ExportRow | DeviceRow | RunRow,
    key: str,
    messages: Sequence[str],
) -> None:
    """Record events of a resource, unless it has an event with this key already.

    The caller has locked the resource's work, so that no other process records them meanwhile.

    Args:
        session: A writing session.
        resource: What the events are about.
        key: Names what is recorded, such as "plan"; the same however the messages are worded.
        messages: What happened, in words: one event each.
    """
    is_known = exists().where(EventRow.resource_id == resource.id, EventRow.key == key)
    if session.scalar(select(is_known)):
        return
    for message in messages:
        append(session, resource, message, key=key)


def subjects_after(resource_id: str, number: int) -> Select[str]:
    """Return the query for the ids of what the events after event `number` are about."""
    return select(EventRow.subject).where(
        EventRow.resource_id == resource_id, EventRow.number > number
    )


def after(
    session: Session, resource_id: str, number: int = 0, *, limit: int = 1000
) -> Sequence[EventRow]:
    """Return the resource's events after event `number`, in order."""
    return session.scalars(
        select(EventRow)
        .where(EventRow.resource_id == resource_id, EventRow.number > number)
        .order_by(EventRow.number)
        .limit(limit)
    ).all()
