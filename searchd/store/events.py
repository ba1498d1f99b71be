"""Events: appended with every change of a status, read in order by whoever watches."""

from collections.abc import Sequence

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from searchd.store.models import EventRow
from searchd.store.models.resources import table_of


def append(
    session: Session, resource_id: str, *, subject: str, status: str, message: str
) -> EventRow:
    """Record an event under the resource's next number. Locks the resource's row."""
    table = table_of(resource_id)
    number = session.execute(
        update(table)
        .where(table.id == resource_id)
        .values(num_events=table.num_events + 1)
        .returning(table.num_events)
        .execution_options(synchronize_session=False)
    ).scalar_one()
    event = EventRow(
        resource_id=resource_id, number=number, subject=subject, status=status, message=message
    )
    session.add(event)
    return event


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
