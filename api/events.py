"""The events of a resource as a stream of server-sent events."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import NoResultFound

from api.schemas import Event
from searchd.domain.transitions import is_final
from searchd.store import Database, events
from searchd.store.models import EventRow
from searchd.store.work import queue

POLL_S = 0.5
"""Seconds between two reads of the database while there are no new events."""


async def stream(
    database: Database, resource_id: str, last_event_id: int
) -> AsyncIterator[ServerSentEvent]:
    """Yield every event after `last_event_id`, also future ones, until the resource has ended.

    The id of an event is its number, so that a client that reconnects with Last-Event-ID misses
    none.
    """
    while True:
        batch, ended = await run_in_threadpool(_read, database, resource_id, last_event_id)
        for row in batch:
            last_event_id = row.number
            data = Event.model_validate(row).model_dump(mode="json")
            yield ServerSentEvent(id=str(row.number), event="status", data=data)
        if not batch and ended:
            return
        if not batch:
            await asyncio.sleep(POLL_S)


def _read(
    database: Database, resource_id: str, last_event_id: int
) -> tuple[Sequence[EventRow], bool]:
    with database.read() as session:
        try:
            row = queue.resource(session, queue.of_resource(session, resource_id))
        except NoResultFound:  # it was deleted while a client followed it
            return [], True
        return events.after(session, resource_id, last_event_id, limit=100), is_final(row.status)
