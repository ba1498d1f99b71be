"""Many watchers of one resource share one look at the database, and none misses an event."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from fastapi.sse import ServerSentEvent
from sqlalchemy import event

from api.events import Feeds
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database, Lease
from searchd.store.work import queue
from tests.searchd.store import factories


@pytest.fixture
def search(database: Database) -> Lease:
    """The lease on a running search with four events."""
    return factories.start_search(database)[1]


def run_id(lease: Lease) -> str:
    return lease.work_id.removeprefix("search-")


def tell(database: Database, lease: Lease, *messages: str) -> None:
    with database.write() as session:
        for message in messages:
            queue.record_once(session, lease, message, [message])


async def numbers(stream: AsyncIterator[ServerSentEvent], until: int) -> list[int]:
    found = []
    async for each in stream:
        found.append(int(each.id or 0))
        if found[-1] == until:
            break
    return found


def test_one_look_serves_a_hundred_watchers(database: Database, search: Lease) -> None:
    looks: list[object] = []
    look = looks.append
    event.listen(database.engine, "begin", look)

    async def watch() -> list[list[int]]:
        feeds = Feeds(database, poll_s=0.05)
        watching = [
            asyncio.ensure_future(numbers(feeds.stream(run_id(search), 0), until=7))
            for _ in range(100)
        ]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(tell, database, search, "one", "two", "three")
        return await asyncio.gather(*watching)

    seen = asyncio.run(watch())
    event.remove(database.engine, "begin", look)
    assert seen == [[1, 2, 3, 4, 5, 6, 7]] * 100
    assert len(looks) < 100


def test_watcher_that_comes_late_gets_what_it_has_not_seen(
    database: Database, search: Lease
) -> None:
    async def watch() -> tuple[list[int], list[int]]:
        feeds = Feeds(database, poll_s=0.01)
        first = asyncio.ensure_future(numbers(feeds.stream(run_id(search), 3), until=5))
        await asyncio.sleep(0.1)
        late = asyncio.ensure_future(numbers(feeds.stream(run_id(search), 1), until=5))
        await asyncio.to_thread(tell, database, search, "one")
        return await asyncio.gather(first, late)

    first, late = asyncio.run(watch())
    assert (first, late) == ([4, 5], [2, 3, 4, 5])


def test_stream_ends_with_the_resource_for_everybody(database: Database, search: Lease) -> None:
    with database.write() as session:
        queue.finish(session, search, SearchStatus.FAILED, "the end")

    async def watch() -> list[list[int]]:
        feeds = Feeds(database, poll_s=0.01)
        streams = [feeds.stream(run_id(search), after) for after in (0, 2)]
        return await asyncio.gather(*(numbers(each, until=99) for each in streams))

    everything, rest = asyncio.run(watch())
    assert rest == everything[2:]
