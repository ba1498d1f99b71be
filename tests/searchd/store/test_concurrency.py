"""Many at once: each gets its turn, no change is lost, nobody acts on what is no longer so."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from searchd.domain.errors import (
    ConflictError,
    IllegalTransitionError,
    SearchdError,
    StaleLeaseError,
)
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.store import Database, Lease, events, paging, upgrade
from searchd.store.models import Desired, Role, SearchRow
from searchd.store.resources import datasets, searches, tokens
from searchd.store.runs import reports, trials
from searchd.store.work import queue, requests
from searchd.store.work.transition import transition
from tests.searchd.store.factories import (
    add_dataset,
    add_search,
    base_proposal,
    dataset_spec,
    progress,
    run_trial,
    scores_of,
    search_proposal,
    search_spec,
    start_search,
    succeeded,
)

pytestmark = pytest.mark.timeout(60)  # processes wait for each other

T = TypeVar("T")
NUM_THREADS = 8


def _now() -> datetime:
    return datetime.now(UTC)


def _at_once(call: Callable[[int], T]) -> tuple[list[T], list[SearchdError]]:
    """What came of calling with 0, 1, ..., all at the same time: results, and refusals."""
    barrier = threading.Barrier(NUM_THREADS)

    def run(number: int) -> T | SearchdError:
        barrier.wait()
        try:
            return call(number)
        except SearchdError as error:
            return error

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        ended = list(pool.map(run, range(NUM_THREADS)))
    refusals = [each for each in ended if isinstance(each, SearchdError)]
    return [each for each in ended if not isinstance(each, SearchdError)], refusals


def _while_locked(
    database: Database, first: Callable[[Session], object], then: Callable[[Session], T]
) -> Future[T]:
    """What comes of `then` when it begins before the transaction of `first` ends."""

    def follow() -> T:
        with database.write() as session:
            return then(session)

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            first(session)
            session.flush()
            future = pool.submit(follow)
            time.sleep(0.2)  # until it waits for what `first` has locked
            assert not future.done()
        return future


def test_one_of_many_gets_the_lease(database: Database) -> None:
    search = add_search(database)

    def lease(owner: int) -> Lease | None:
        with database.write() as session:
            return queue.lease(
                session, f"search-{search.id}", owner=str(owner), lease_s=9, now=_now()
            )

    granted, _ = _at_once(lease)

    assert [each for each in granted if each] == [Lease(f"search-{search.id}", 1)]
    with database.read() as session:
        assert queue.get(session, f"search-{search.id}").attempts == 1


def test_events_of_many_writers_are_numbered_without_gaps(database: Database) -> None:
    dataset_id = add_dataset(database)

    def append(writer: int) -> None:
        for number in range(6):
            with database.write() as session:
                message = f"{writer}-{number}"
                events.append(session, datasets.get(session, dataset_id), message)
                if number % 2:
                    session.rollback()  # takes no number

    _at_once(append)

    with database.read() as session:
        found = events.after(session, dataset_id)
    assert [event.number for event in found] == list(range(1, 4 + 3 * NUM_THREADS))
    kept = {f"{writer}-{number}" for writer in range(NUM_THREADS) for number in (0, 2, 4)}
    assert {event.message for event in found[3:]} == kept


def test_a_reader_never_skips_an_event_that_is_being_written(shared: Database) -> None:
    dataset_id = add_dataset(shared)
    done = threading.Event()

    def read() -> list[int]:
        numbers: list[int] = []
        while True:
            last_look = done.is_set()
            with shared.read() as session:
                batch = events.after(session, dataset_id, numbers[-1] if numbers else 0)
            numbers += [event.number for event in batch]
            if last_look:
                return numbers

    def append(_: int) -> None:
        for _ in range(5):
            with shared.write() as session:
                events.append(session, datasets.get(session, dataset_id), "x")

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            _at_once(append)
        finally:
            done.set()
        assert reader.result() == list(range(1, 4 + 5 * NUM_THREADS))


def test_one_of_many_moves_a_search(database: Database) -> None:
    search = add_search(database)

    def cancel(_: int) -> None:
        with database.write() as session:
            row = searches.get(session, search.id)
            transition(session, row, SearchStatus.CANCELLED, "never mind")

    moved, refusals = _at_once(cancel)

    assert len(moved) == 1
    assert {type(error) for error in refusals} <= {ConflictError, IllegalTransitionError}
    with database.read() as session:
        assert [e.status for e in events.after(session, search.id)] == ["queued", "cancelled"]


def test_one_of_many_gets_the_name(database: Database) -> None:
    def create(_: int) -> str:
        with database.write() as session:
            return datasets.create(session, dataset_spec()).id

    created, refusals = _at_once(create)

    assert len(created) == 1
    assert {str(error) for error in refusals} == {
        "datasets has a 'shapes' already; names are unique, choose another"
    }


def test_a_request_repeated_at_once_creates_one_resource(database: Database) -> None:
    add_search(database, "another")

    def create(_: int) -> str:
        with database.write() as session:
            return searches.create(session, search_spec("first"), idempotency_key="k").id

    created, refusals = _at_once(create)

    assert refusals == []
    assert len(set(created)) == 1
    with database.read() as session:
        assert [row.name for row in paging.page(session, SearchRow).items] == ["first", "another"]
        assert len(events.after(session, created[0])) == 1


def test_one_key_for_different_requests_at_once_creates_one_resource(database: Database) -> None:
    def create(number: int) -> str:
        with database.write() as session:
            return datasets.create(session, dataset_spec(f"d{number}"), idempotency_key="k").id

    created, refusals = _at_once(create)

    assert len(created) == 1
    assert all("with another body" in str(error) for error in refusals)


def test_one_of_many_gets_the_name_of_a_token(database: Database) -> None:
    def create(_: int) -> str:
        with database.write() as session:
            return tokens.create(session, "ci", Role.READ)

    created, refusals = _at_once(create)

    assert len(created) == 1
    assert all("choose another" in str(error) for error in refusals)
    with database.read() as session:
        assert tokens.recognise(session, created[0])


def test_all_who_ask_to_cancel_at_once_are_heard_once(database: Database) -> None:
    search, _ = start_search(database)

    def ask(_: int) -> Desired:
        with database.write() as session:
            row = searches.get(session, search.id)
            return requests.ask_to_cancel(session, row.id).desired

    assert _at_once(ask) == ([Desired.CANCEL] * NUM_THREADS, [])
    with database.read() as session:
        messages = [event.message for event in events.after(session, search.id)]
    assert messages.count("a user asked to cancel") == 1


def test_a_user_is_not_promised_to_cancel_what_ends_at_this_moment(shared: Database) -> None:
    search, lease = start_search(shared)

    def ask(session: Session) -> None:
        row = searches.get(session, search.id)  # still running, as far as can be seen
        requests.ask_to_cancel(session, row.id)

    asked = _while_locked(
        shared, lambda s: queue.finish(s, lease, SearchStatus.SUCCEEDED, "budget: 4 trials"), ask
    )

    with pytest.raises(ConflictError, match="is succeeded already"):
        asked.result()


def test_trials_that_end_at_once_are_numbered_without_gaps(database: Database) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    for number in range(NUM_THREADS):
        with database.write() as session:
            trials.add(session, lease, search_proposal(number))
            trials.start(session, lease, str(number))

    def record(number: int) -> int | None:
        report = succeeded(str(number))
        with database.write() as session:
            return reports.record(session, lease, report, scores_of(report)).completion

    completions, refusals = _at_once(record)

    assert refusals == []
    assert sorted(map(int, filter(None, completions))) == list(range(1, NUM_THREADS + 1))
    with database.read() as session:
        assert searches.trial_counts(session, search.id) == {TrialStatus.SUCCEEDED: 9}


def test_a_driver_whose_lease_is_taken_at_this_moment_writes_nothing(shared: Database) -> None:
    search, lease = start_search(shared)
    with shared.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")

    reported = _while_locked(
        shared,
        lambda s: queue.requeue(s, lease, "no sign of life", delay_s=0, now=_now()),
        lambda s: trials.record_progress(s, lease, progress("base")),
    )

    with pytest.raises(StaleLeaseError):
        reported.result()
    with shared.read() as session:
        assert trials.get(session, f"{search.id}-base").progress is None


def test_processes_that_start_at_once_bring_up_one_set_of_tables(url: str) -> None:
    _at_once(lambda _: upgrade(url))

    opened = Database(url)
    assert "searches" in inspect(opened.engine).get_table_names()
    opened.close()
