"""The event log of a resource: each thing that happens is there once, in words for users."""

from datetime import UTC, datetime

import pytest

from searchd.coordinator.jobs import JobStatus, Node
from searchd.coordinator.loop import Coordinator
from searchd.domain.lifecycle import SearchStatus
from searchd.store import Database, Lease, events
from searchd.store.models import SearchRow
from searchd.store.resources import searches
from searchd.store.work import queue, requests
from tests.searchd.conftest import FakeClock
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store.conftest import emptied
from tests.searchd.store.factories import add_search, base_proposal, leased, run_trial, start_search

STARTED = [
    ("queued", "waits for admission"),
    ("queued", "driver 1 is starting (test)"),
    ("preparing", "driver started"),
    ("running", "base trained"),
]


@pytest.fixture
def memory(memory_database: Database) -> Database:
    """An empty database; what is recorded here is the same on every kind."""
    return emptied(memory_database)


def log_of(database: Database, search: SearchRow) -> list[tuple[str, str]]:
    """Status and message of every event."""
    with database.read() as session:
        return [(each.status, each.message) for each in events.after(session, search.id)]


def stop(database: Database, lease: Lease) -> None:
    """Do what a driver does that is asked to stop."""
    with database.write() as session:
        queue.acknowledge_stop(session, lease)
    with database.write() as session:
        queue.stopped(session, lease)


def test_a_queued_search_that_is_paused_and_resumed(memory: Database) -> None:
    search = add_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
        requests.ask_to_resume(session, search.id)
    assert log_of(memory, search) == [
        ("queued", "waits for admission"),
        ("paused", "paused by a user"),
        ("queued", "resumed by a user"),
    ]


def test_a_running_search_that_is_paused(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
    stop(memory, lease)
    assert log_of(memory, search) == [
        *STARTED,
        ("running", "a user asked to pause"),
        ("pausing", "workers are saving checkpoints and stopping"),
        ("paused", "paused by a user"),
    ]


def test_a_search_that_is_resumed_while_it_is_pausing(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
        queue.acknowledge_stop(session, lease)
        requests.ask_to_resume(session, search.id)
    stop(memory, lease)
    assert log_of(memory, search) == [
        *STARTED,
        ("running", "a user asked to pause"),
        ("pausing", "workers are saving checkpoints and stopping"),
        ("pausing", "a user asked to resume"),
        ("paused", "every worker has stopped"),
        ("queued", "resumed by a user"),
    ]


def test_a_search_whose_driver_crashes_is_requeued(memory: Database, clock: FakeClock) -> None:
    search, lease = start_search(memory)
    jobs = ScriptedJobs(Node(cpus=2, gpus=0))
    jobs.statuses[f"{lease.work_id}-1"] = JobStatus.FAILED
    coordinator = Coordinator(
        memory, jobs, lease_s=60, max_running_searches=1, max_attempts=3, clock=clock
    )

    coordinator.step()
    assert log_of(memory, search) == [
        *STARTED,
        (
            "running",
            f"requeued: the driver exited without finishing (job search-{search.id}-1 is failed)",
        ),
    ]

    clock.pass_s(1)
    with leased(memory, lease.work_id):
        pass
    assert log_of(memory, search)[5:] == [("running", "driver 2 is starting (test)")]


def test_a_search_whose_driver_crashes_before_it_has_paused(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
        queue.requeue(session, lease, "the driver exited", delay_s=0, now=datetime.now(UTC))
    assert log_of(memory, search)[4:] == [
        ("running", "a user asked to pause"),
        ("pausing", "stopping without waiting for the driver"),
        ("paused", "paused by a user; the driver exited"),
    ]


def test_a_search_whose_driver_crashes_while_it_is_pausing_and_is_to_resume(
    memory: Database,
) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_pause(session, search.id)
        queue.acknowledge_stop(session, lease)
        requests.ask_to_resume(session, search.id)
        queue.requeue(session, lease, "the driver exited", delay_s=0, now=datetime.now(UTC))
        assert searches.get(session, search.id).status is SearchStatus.QUEUED
    assert log_of(memory, search)[6:] == [
        ("pausing", "a user asked to resume"),
        ("paused", "every worker has stopped"),
        ("queued", "resumed by a user; the driver exited"),
    ]


def test_a_running_search_that_is_killed(memory: Database) -> None:
    search, _ = start_search(memory)
    with memory.write() as session:
        requests.ask_to_kill(session, search.id)
    Coordinator(memory, ScriptedJobs(), lease_s=60, max_running_searches=1, max_attempts=3).step()
    assert log_of(memory, search) == [
        *STARTED,
        ("running", "a user asked to kill"),
        ("cancelling", "stopping without waiting for the driver"),
        ("cancelled", "killed by a user"),
    ]


def test_a_running_search_that_is_cancelled(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.ask_to_cancel(session, search.id)
    stop(memory, lease)
    assert log_of(memory, search)[4:] == [
        ("running", "a user asked to cancel"),
        ("cancelling", "workers are stopping"),
        ("cancelled", "cancelled by a user"),
    ]


def test_a_search_that_the_disk_guard_pauses_and_queues_again(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        requests.pause_for_disk_space(session, lease.work_id, "only 0.9 GB free")
        queue.acknowledge_stop(session, lease)
        requests.resume_after_low_space(session, lease.work_id)
        queue.stopped(session, lease)
    assert log_of(memory, search)[4:] == [
        ("running", "low disk space: only 0.9 GB free"),
        (
            "pausing",
            "low disk space: workers are saving checkpoints and stopping; resumes automatically",
        ),
        ("paused", "every worker has stopped"),
        ("queued", "waits for disk space"),
    ]


def test_a_search_that_ends(memory: Database) -> None:
    search, lease = start_search(memory)
    run_trial(memory, lease, base_proposal())
    with memory.write() as session:
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget: 1 trial")
    assert log_of(memory, search)[-1] == ("succeeded", "budget: 1 trial")
    assert [message for _, message in log_of(memory, search)].count("budget: 1 trial") == 1


def test_what_is_recorded_once_is_known_by_its_key_and_not_by_its_words(memory: Database) -> None:
    search, lease = start_search(memory)
    with memory.write() as session:
        queue.record_once(session, lease, "plan", ["two teachers", "the larger one first"])
    with memory.write() as session:
        queue.record_once(session, lease, "plan", ["2 teachers"])
        queue.record_once(session, lease, "verdict", ["two teachers"])
    assert [message for _, message in log_of(memory, search)[4:]] == [
        *("two teachers", "the larger one first", "two teachers")
    ]
