"""What users ask of work, state by state."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidValueError
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TrialStatus, WorkStatus
from searchd.domain.trial import Outcome
from searchd.messages.reports import Report
from searchd.spec import BudgetSpec
from searchd.store import Database, Desired, events
from searchd.store.models import SearchRow, WorkRow
from searchd.store.resources import pools, searches
from searchd.store.runs import trials
from searchd.store.runs.extension import ask_to_extend, budget_of
from searchd.store.work import queue, requests
from tests.searchd.store.conftest import emptied
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    leased,
    pool_report,
    refused,
    run_trial,
    search_proposal,
    search_spec,
    start_search,
)

Ask = Callable[[Session, str], WorkRow]
ASKS: dict[str, Ask] = {
    "pause": requests.ask_to_pause,
    "resume": requests.ask_to_resume,
    "cancel": requests.ask_to_cancel,
    "kill": requests.ask_to_kill,
}
Q, P, R, S = (SearchStatus(name) for name in ("queued", "preparing", "running", "succeeded"))
PAUSING, PAUSED, CANCELLING, CANCELLED, FAILED = (
    SearchStatus(name) for name in ("pausing", "paused", "cancelling", "cancelled", "failed")
)


@pytest.fixture
def memory(memory_database: Database) -> Database:
    """An empty database; what is decided here is the same on every kind."""
    return emptied(memory_database)


def bring(database: Database, status: SearchStatus) -> str:
    """A search that has come to be there as searches do; its id."""
    search = add_search(database)
    if status is Q:
        return search.id
    if status is PAUSED:
        with database.write() as session:
            requests.ask_to_pause(session, search.id)
        return search.id
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, P, "started")
        if status is not P:
            queue.advance(session, lease, R, "base trained")
        if status in (PAUSING, CANCELLING):
            ASKS["pause" if status is PAUSING else "cancel"](session, search.id)
            queue.acknowledge_stop(session, lease)
        if status is CANCELLED:
            requests.ask_to_cancel(session, search.id)
            queue.stopped(session, lease)
        if status in (S, FAILED):
            queue.finish(session, lease, status, "ended")
    return search.id


def state(database: Database, search_id: str) -> tuple[SearchStatus, WorkStatus, Desired]:
    with database.read() as session:
        held = queue.of_resource(session, search_id)
        return searches.get(session, search_id).status, held.status, held.desired


def num_events(database: Database, search_id: str) -> int:
    with database.read() as session:
        return len(events.after(session, search_id))


RUN, PAUSE, CANCEL, KILL = Desired
WAITS, LEASED, HALTED, DONE = (
    WorkStatus.QUEUED,
    WorkStatus.LEASED,
    WorkStatus.PAUSED,
    WorkStatus.DONE,
)
TABLE: dict[SearchStatus, dict[str, tuple[SearchStatus, WorkStatus, Desired] | str]] = {
    Q: {
        "pause": (PAUSED, HALTED, PAUSE),
        "resume": (Q, WAITS, RUN),
        "cancel": (CANCELLED, DONE, CANCEL),
        "kill": (CANCELLED, DONE, KILL),
    },
    **{
        status: {
            "pause": (status, LEASED, PAUSE),
            "resume": (status, LEASED, RUN),
            "cancel": (status, LEASED, CANCEL),
            "kill": (status, LEASED, KILL),
        }
        for status in (P, R, PAUSING)
    },
    PAUSED: {
        "pause": (PAUSED, HALTED, PAUSE),
        "resume": (Q, WAITS, RUN),
        "cancel": (CANCELLED, DONE, CANCEL),
        "kill": (CANCELLED, DONE, KILL),
    },
    CANCELLING: {
        "pause": "first is cancelling, is to be cancelled and cannot be paused",
        "resume": "first is cancelling, is to be cancelled and cannot be resumed",
        "cancel": (CANCELLING, LEASED, CANCEL),
        "kill": (CANCELLING, LEASED, KILL),
    },
    CANCELLED: {
        "pause": "first is cancelled already and cannot be paused",
        "resume": "first is cancelled already and cannot be resumed",
        "cancel": (CANCELLED, DONE, CANCEL),
        "kill": (CANCELLED, DONE, CANCEL),
    },
    **{
        status: {
            "pause": f"first is {status} already and cannot be paused",
            "resume": f"first is {status} already and cannot be resumed",
            "cancel": f"first is {status} already and cannot be cancelled",
            "kill": f"first is {status} already and cannot be killed",
        }
        for status in (S, FAILED)
    },
}


@pytest.mark.parametrize("verb", ASKS)
@pytest.mark.parametrize("status", SearchStatus)
def test_what_every_call_does_in_every_status(
    memory: Database, status: SearchStatus, verb: str
) -> None:
    search_id = bring(memory, status)
    expected = TABLE[status][verb]
    if isinstance(expected, str):
        before = state(memory, search_id)
        with refused(memory, ConflictError, expected) as session:
            ASKS[verb](session, search_id)
        assert state(memory, search_id) == before
        return
    seen = []
    for _ in range(2):
        with memory.write() as session:
            ASKS[verb](session, search_id)
        seen.append((state(memory, search_id), num_events(memory, search_id)))
    assert seen[0][0] == expected
    assert seen[1] == seen[0], "asking twice is asking once"


@pytest.mark.parametrize(
    ("verb", "afterwards"),
    [
        ("pause", (PAUSED, HALTED, PAUSE)),
        ("cancel", (CANCELLED, DONE, CANCEL)),
        ("kill", (CANCELLED, DONE, KILL)),
        ("resume", (Q, WAITS, RUN)),
    ],
)
def test_what_the_user_wants_by_the_time_the_driver_has_stopped_decides(
    memory: Database, verb: str, afterwards: tuple[SearchStatus, WorkStatus, Desired]
) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
        queue.acknowledge_stop(session, lease)
        ASKS[verb](session, search.id)
        queue.stopped(session, lease)
    assert state(memory, search.id) == afterwards


@pytest.mark.parametrize(
    ("verb", "afterwards"),
    [("pause", PAUSED), ("cancel", CANCELLED), ("kill", CANCELLED), ("resume", R)],
)
def test_what_the_user_wants_is_done_at_once_when_the_driver_dies(
    memory: Database, verb: str, afterwards: SearchStatus
) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
        ASKS[verb](session, search.id)
        queue.requeue(session, lease, "driver died", delay_s=0, now=datetime.now(UTC))
    assert state(memory, search.id)[0] is afterwards
    with memory.read() as session:
        status = trials.of_search(session, search.id)[0].status
    expected = {PAUSED: TrialStatus.PENDING, CANCELLED: TrialStatus.CANCELLED}
    assert status is expected.get(afterwards, TrialStatus.RUNNING)


def test_driver_that_stops_though_nobody_wants_it_any_more_leaves_its_place(
    memory: Database,
) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        queue.stopped(session, lease)
    assert state(memory, search.id) == (R, WAITS, RUN)


def test_paused_trial_resumes_as_the_next_attempt(memory: Database) -> None:
    search, lease = start_search(memory)
    stopped = Report(trial="base", attempt=1, outcome=Outcome.STOPPED, reason="stop requested")
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
    row = run_trial(memory, lease, base_proposal(), stopped)
    assert (row.status, row.completion, row.outcome) == (TrialStatus.PENDING, None, None)
    with memory.write() as session:
        queue.stopped(session, lease)
        requests.ask_to_resume(session, search.id)
    with leased(memory, f"search-{search.id}") as (session, again):
        assert trials.start(session, again, "base") == 2


def test_what_is_paused_is_neither_started_nor_given_up(memory: Database) -> None:
    search_id = bring(memory, PAUSED)
    with memory.write() as session:
        held = queue.of_resource(session, search_id)
        assert queue.queued(session, now=datetime.now(UTC)) == []
        queue.explain(session, held.id, "waits for capacity")
        assert searches.get(session, search_id).status_reason == "paused by a user"
        assert queue.lease(session, held.id, owner="", lease_s=9, now=datetime.now(UTC)) is None
    with refused(memory, ConflictError, "is paused, and can no longer be given up") as session:
        queue.give_up(session, queue.lease_of(held), "too large")


def test_started_at_is_when_it_was_first_taken_up(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        first = searches.get(session, search.id).started_at
        requests.ask_to_pause(session, search.id)
        queue.stopped(session, lease)
        requests.ask_to_resume(session, search.id)
    with leased(memory, f"search-{search.id}") as (session, again):
        queue.advance(session, again, P, "started")
        assert searches.get(session, search.id).started_at == first is not None


@pytest.mark.parametrize(
    ("desired", "status"), [(PAUSE, PoolStatus.PAUSED), (CANCEL, PoolStatus.CANCELLED)]
)
def test_stopped_pool_is_what_the_user_wants(
    memory: Database, desired: Desired, status: PoolStatus
) -> None:
    add_dataset(memory)
    pool_id = add_pool(memory, ready=False)
    with leased(memory, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        ASKS[desired](session, pool_id)
        queue.acknowledge_stop(session, lease)
        transient = PoolStatus.PAUSING if desired is PAUSE else PoolStatus.CANCELLING
        assert pools.get(session, pool_id).status is transient
        report = pool_report(pool_id, Outcome.STOPPED, "stop requested")
        assert pools.record_report(session, lease, report).status is status
        # Its results so far are recorded once: when it has ended.
        assert len(pools.epochs(session, pool_id)) == (0 if desired is PAUSE else 1)


@pytest.mark.parametrize("verb", ["pause", "cancel"])
def test_pool_that_is_trained_before_it_stops_is_ready(memory: Database, verb: str) -> None:
    add_dataset(memory)
    pool_id = add_pool(memory, ready=False)
    with leased(memory, f"pool-{pool_id}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        ASKS[verb](session, pool_id)
        queue.acknowledge_stop(session, lease)
        row = pools.record_report(session, lease, pool_report(pool_id))
        assert row.status is PoolStatus.READY


# Extension


def extend(database: Database, search_id: str, **changes: Any) -> SearchRow:
    with database.write() as session:
        ask_to_extend(session, search_id, changes)
        return searches.get(session, search_id)


@pytest.mark.parametrize("status", SearchStatus)
def test_what_extending_does_in_every_status(memory: Database, status: SearchStatus) -> None:
    search_id = bring(memory, status)
    if status is CANCELLING:
        with refused(memory, ConflictError, "first is cancelling, is to end") as session:
            ask_to_extend(session, search_id, {"max_trials": 200})
        return
    row = extend(memory, search_id, max_trials=200)
    assert row.status is (Q if status in (S, FAILED, CANCELLED) else status)
    assert budget_of(row) == BudgetSpec(max_trials=200, patience=20, finish=None)
    assert row.finished_at is None
    before = num_events(memory, search_id)
    extend(memory, search_id, max_trials=200)
    assert num_events(memory, search_id) == before, "twice is once"


def test_extended_search_may_be_leased_though_it_crashed_often(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        queue.give_up(session, lease, "given up after 5 attempts")
    extend(memory, search.id)
    with leased(memory, f"search-{search.id}") as (session, again):
        assert (again.number, queue.get(session, again.work_id).attempts) == (2, 1)


def test_trials_that_were_cancelled_resume_and_finished_ones_stay(memory: Database) -> None:
    search, lease = start_search(memory)
    run_trial(memory, lease, base_proposal())
    with memory.write() as session:
        for number in (0, 1):
            trials.add(session, lease, search_proposal(number))
        trials.start(session, lease, "0")
        requests.ask_to_kill(session, search.id)
        queue.stopped(session, lease)
        assert [t.status.value for t in trials.of_search(session, search.id)] == [
            *("succeeded", "cancelled", "cancelled")
        ]
    extend(memory, search.id)
    with memory.read() as session:
        rows = trials.of_search(session, search.id)
    assert [row.status.value for row in rows] == ["succeeded", "pending", "pending"]
    assert [row.attempt for row in rows] == [1, 1, 0]
    assert [row.finished_at is None for row in rows] == [False, True, True]


def test_a_succeeded_search_needs_more_than_it_had(memory: Database) -> None:
    search_id = bring(memory, S)
    with refused(memory, ConflictError, "nothing more to do: ended; extend it") as session:
        ask_to_extend(session, search_id, {"max_trials": 100})


def test_a_budget_never_shrinks_below_what_was_spent(memory: Database) -> None:
    search, lease = start_search(memory)
    run_trial(memory, lease, base_proposal())
    run_trial(memory, lease, search_proposal(0))
    run_trial(memory, lease, search_proposal(1))
    extended = budget_of(extend(memory, search.id, max_trials=2))
    assert extended == BudgetSpec(max_trials=2, finish=None)
    for changes, match in (
        ({"max_trials": 1}, "max_trials=1 is less than the 2 trials"),
        ({"patience": 19}, "patience=19 is less than first's 20"),
        ({"max_trials": 0}, "the budget is not valid"),
    ):
        with refused(memory, InvalidValueError, match) as session:
            ask_to_extend(session, search.id, changes)


def test_what_has_no_budget_cannot_be_given_another(memory: Database) -> None:
    add_dataset(memory)
    pool_id = add_pool(memory)
    with memory.write() as session:
        pipeline = searches.create(session, search_spec(strategy={"kind": "pipeline"}))
    with refused(memory, ConflictError, "teachers is ready and cannot be extended") as session:
        ask_to_extend(session, pool_id, {"max_trials": 200})
    with refused(memory, ConflictError, "first is queued and cannot be given another") as session:
        ask_to_extend(session, pipeline.id, {"max_trials": 200})
