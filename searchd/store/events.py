"""Events: appended with every change of a status, read in order by whoever watches."""

from collections.abc import Sequence

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import AnyStatus
from searchd.store.models import (
    DatasetRow,
    EventRow,
    PoolRow,
    RunRow,
    TeacherRow,
    TrialRow,
    WorkRow,
)
from searchd.store.models.resources import TABLES, AnyResource

Subject = DatasetRow | PoolRow | TeacherRow | RunRow | TrialRow | WorkRow
"""What an event is about: a resource, a trial of one, or its work."""


def append(
    session: Session, subject: Subject, message: str, *, status: AnyStatus | None = None
) -> EventRow:
    """Record an event under the next number of the resource's log. Locks the resource's row.

    Args:
        session: A writing session.
        subject: A resource; or a trial or work of one, whose events are in its log.
        message: What happened, in words.
        status: The subject's status from now on. None: the one that the row shows.
    """
    session.flush()
    table, resource_id = _resource(subject)
    number = session.execute(
        update(table)
        .where(table.id == resource_id)
        .values(num_events=table.num_events + 1)
        .returning(table.num_events)
        .execution_options(synchronize_session=False)
    ).scalar_one()
    event = EventRow(
        resource_id=resource_id,
        number=number,
        subject=subject.id,
        status=(status or subject.status).value,
        message=message,
    )
    session.add(event)
    return event


def _resource(subject: Subject) -> tuple[type[AnyResource], str]:
    match subject:
        case TrialRow():
            return RunRow, subject.run_id
        case WorkRow():
            return TABLES[subject.kind], subject.resource_id
        case _:
            return type(subject), subject.id


def has(session: Session, resource_id: str, message: str) -> bool:
    """Whether the resource has an event with this message."""
    return (
        session.scalar(
            select(exists().where(EventRow.resource_id == resource_id, EventRow.message == message))
        )
        is True
    )


def after(
    session: Session, resource_id: str, number: int = 0, *, limit: int = 1000
) -> Sequence[EventRow]:
    """The resource's events after event `number`, in order."""
    return session.scalars(
        select(EventRow)
        .where(EventRow.resource_id == resource_id, EventRow.number > number)
        .order_by(EventRow.number)
        .limit(limit)
    ).all()
