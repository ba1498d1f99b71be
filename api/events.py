"""The events of a resource as a stream of server-sent events.

All watchers of a resource in this process share one look at the database a second.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent
from sqlalchemy.exc import NoResultFound

from api.schemas import Event
from searchd.domain.transitions import is_final
from searchd.store import Database, events
from searchd.store.models import EventRow
from searchd.store.work import queue

POLL_S = 1.0
"""Seconds between two looks at the database."""
_MAX_KEPT = 1000
"""Number of latest events of a resource that are kept for watchers that are slow."""
_BATCH = 100


@dataclass(frozen=True, slots=True)
class _Kept:
    number: int
    event: ServerSentEvent


class Feeds:
    """The events of all resources that are watched. Used by one event loop.

    Args:
        database: Where the events are.
        poll_s: Seconds between two looks at the database, for each watched resource.
    """

    def __init__(self, database: Database, poll_s: float = POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._feeds: dict[str, _Feed] = {}

    async def stream(self, resource_id: str, last_event_id: int) -> AsyncIterator[ServerSentEvent]:
        """Yield every event after `last_event_id`, also future ones, until the resource has ended.

        The id of an event is its number, so that a client that reconnects with Last-Event-ID misses
        none.
        """
        feed = self._feeds.setdefault(resource_id, _Feed(self._database, resource_id))
        feed.num_watchers += 1
        try:
            async for kept in feed.watched(last_event_id, self._poll_s):
                yield kept.event
        finally:
            feed.num_watchers -= 1
            if not feed.num_watchers:
                feed.stop()
                self._feeds.pop(resource_id, None)


class _Feed:
    """The latest events of one resource, read by one task for all its watchers."""

    def __init__(self, database: Database, resource_id: str) -> None:
        self.num_watchers = 0
        self._database = database
        self._resource_id = resource_id
        self._kept: deque[_Kept] = deque(maxlen=_MAX_KEPT)
        self._last = 0
        """Number of the last event that was read, or where the first watcher began."""
        self._has_ended = False
        self._failure: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def watched(self, after: int, poll_s: float) -> AsyncIterator[_Kept]:
        """Yield the events after a number."""
        if self._task is None:
            self._last = after
            self._task = asyncio.create_task(self._look_again_and_again(poll_s))
        while True:
            news = self._news
            for kept in await self._after(after):
                after = kept.number
                yield kept
            if news is not self._news or after < self._last:
                continue
            if self._failure is not None:
                raise self._failure
            if self._has_ended:
                return
            await news.wait()

    def stop(self) -> None:
        """End the task: nobody watches."""
        if self._task is not None:
            self._task.cancel()

    async def _after(self, number: int) -> Sequence[_Kept]:
        """Return the events after a number that were read; older ones are read again."""
        if number >= self._last:
            return []
        if self._kept and self._kept[0].number <= number + 1:
            return [kept for kept in self._kept if kept.number > number]
        found, _ = await run_in_threadpool(_read, self._database, self._resource_id, number)
        return _as_kept(found)

    async def _look_again_and_again(self, poll_s: float) -> None:
        try:
            while not self._has_ended:
                look = run_in_threadpool(_read, self._database, self._resource_id, self._last)
                found, is_final = await look
                self._kept += _as_kept(found)
                self._last = found[-1].number if found else self._last
                self._has_ended = is_final and not found
                if found or self._has_ended:
                    self._tell()
                if len(found) < _BATCH and not self._has_ended:
                    await asyncio.sleep(0 if found and is_final else poll_s)
        except Exception as error:  # every watcher gets it, such as that the database is away
            self._failure = error
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _feeds(request: Request) -> Feeds:
    feeds: Feeds = request.app.state.feeds
    return feeds


FeedsDep = Annotated[Feeds, Depends(_feeds)]


def _as_kept(rows: Sequence[EventRow]) -> list[_Kept]:
    return [_Kept(row.number, _event(row)) for row in rows]


def _event(row: EventRow) -> ServerSentEvent:
    data = Event.model_validate(row).model_dump(mode="json")
    return ServerSentEvent(id=str(row.number), event="status", data=data)


def _read(
    database: Database, resource_id: str, last_event_id: int
) -> tuple[Sequence[EventRow], bool]:
    with database.read() as session:
        try:
            row = queue.resource(session, queue.of_resource(session, resource_id))
        except NoResultFound:  # it was deleted while a client followed it
            return [], True
        found = events.after(session, resource_id, last_event_id, limit=_BATCH)
        return found, is_final(row.status)
