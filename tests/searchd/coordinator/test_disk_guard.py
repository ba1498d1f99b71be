"""The disk guard: what it checks, what it pauses, and that this resumes automatically."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from searchd.coordinator.disk_guard import DiskGuard, guarded_folders
from searchd.coordinator.jobs import JobStatus
from searchd.coordinator.loop import Action, Coordinator, CoordinatorEvent
from searchd.domain.lifecycle import SearchStatus, WorkStatus
from searchd.settings import Settings
from searchd.store import Database, Desired, DesiredBy, Lease, events
from searchd.store.models import WorkRow
from searchd.store.resources import searches
from searchd.store.work import queue, requests
from tests.searchd.coordinator.scripted_jobs import ScriptedJobs
from tests.searchd.store import factories

ARTIFACTS = Path("/artifacts")


@dataclass
class Disk:
    """A disk that a test fills."""

    free_gb: float = 100.0

    def __call__(self, _folder: Path) -> int:
        return int(self.free_gb * 1e9)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def guard(disk: Disk) -> DiskGuard:
    return DiskGuard([ARTIFACTS], min_free_gb=2, free_bytes=disk)


def search_of(database: Database, search_id: str) -> tuple[SearchStatus, str]:
    with database.read() as session:
        row = searches.get(session, search_id)
    return row.status, row.status_reason


def messages_of(database: Database, search_id: str) -> list[str]:
    with database.read() as session:
        return [event.message for event in events.after(session, search_id)]


def stop_driver(database: Database, lease: Lease) -> None:
    """Do what a driver does that is asked to stop."""
    with database.write() as session:
        queue.acknowledge_stop(session, lease)
    with database.write() as session:
        queue.stopped(session, lease)


def test_low_space_is_reported_with_what_would_help(guard: DiskGuard, disk: Disk) -> None:
    assert guard.low_space_reason() is None
    disk.free_gb = 1.234
    assert guard.low_space_reason() == (
        "only 1.2 GB free on /artifacts, needs 2 GB; free some or set SEARCHD_MIN_FREE_GB"
    )


def test_the_disk_is_checked_also_before_the_folder_is_created(tmp_path: Path) -> None:
    guard = DiskGuard([tmp_path / "not" / "yet"], min_free_gb=1e12)
    assert f"GB free on {tmp_path}/not/yet, needs 1e+12 GB" in str(guard.low_space_reason())
    assert DiskGuard([tmp_path], min_free_gb=0).low_space_reason() is None


@pytest.mark.parametrize(
    ("changes", "folders"),
    [
        ({}, ["/data/artifacts", "/data"]),
        ({"artifacts": "file:///nfs/artifacts"}, ["/nfs/artifacts", "/data"]),
        ({"artifacts": "memory://bucket", "database_url": "postgresql+psycopg://db/x"}, []),
        ({"artifacts": "/nfs", "database_url": "sqlite:////db/searchd.sqlite"}, ["/nfs", "/db"]),
    ],
)
def test_folders_are_checked_and_remote_stores_are_not(
    changes: dict[str, Any], folders: list[str]
) -> None:
    settings = Settings(data_folder=Path("/data"), **changes)
    assert [str(folder) for folder in guarded_folders(settings)] == folders


def test_no_work_is_started_while_space_is_low(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search_id = factories.add_search(sqlite).id
    coordinator = Coordinator(
        sqlite, ScriptedJobs(), lease_s=60, max_running_searches=1, max_attempts=3, guard=guard
    )
    disk.free_gb = 1.2
    reason = (
        "waits: only 1.2 GB free on /artifacts, needs 2 GB; free some or set SEARCHD_MIN_FREE_GB"
    )
    assert coordinator.step() == [CoordinatorEvent(Action.WAITS, f"search-{search_id}", reason)]
    assert search_of(sqlite, search_id) == (SearchStatus.QUEUED, reason)
    disk.free_gb = 1.3
    assert coordinator.step() == [CoordinatorEvent(Action.WAITS, f"search-{search_id}", reason)]
    disk.free_gb = 2.0
    assert [event.action for event in coordinator.step()] == [Action.STARTED]


def test_running_work_is_paused_waits_and_resumes_automatically(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    jobs = ScriptedJobs()
    jobs.statuses[f"{lease.work_id}-1"] = JobStatus.RUNNING
    coordinator = Coordinator(
        sqlite, jobs, lease_s=60, max_running_searches=1, max_attempts=3, guard=guard
    )
    disk.free_gb = 1.2  # too little to start anything, enough to continue
    assert guard.step(sqlite) == []
    disk.free_gb = 0.9
    assert guard.step(sqlite) == [lease.work_id]
    assert guard.step(sqlite) == []
    stop_driver(sqlite, lease)
    assert search_of(sqlite, search.id)[0] is SearchStatus.PAUSED

    guard.step(sqlite)

    assert search_of(sqlite, search.id) == (SearchStatus.QUEUED, "waits for disk space")
    assert [event.action for event in coordinator.step()] == [Action.WAITS]
    assert search_of(sqlite, search.id)[1].startswith("waits: only 0.9 GB free on /artifacts")
    disk.free_gb = 3.0
    assert guard.step(sqlite) == []
    assert [event.action for event in coordinator.step()] == [Action.STARTED]


def test_work_that_is_still_stopping_is_queued_as_soon_as_its_driver_has_seen_it(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.9
    guard.step(sqlite)
    guard.step(sqlite)
    with sqlite.write() as session:
        assert queue.get(session, lease.work_id).desired is Desired.PAUSE  # not seen yet
        queue.acknowledge_stop(session, lease)
    assert search_of(sqlite, search.id) == (
        SearchStatus.PAUSING,
        "low disk space: workers are saving checkpoints and stopping; resumes automatically",
    )
    guard.step(sqlite)
    assert guard.step(sqlite) == []  # once is enough, however long its driver takes
    with sqlite.write() as session:
        assert queue.get(session, lease.work_id).desired is Desired.RUN
        assert queue.stopped(session, lease) is WorkStatus.QUEUED
    assert search_of(sqlite, search.id)[0] is SearchStatus.QUEUED


def test_what_a_user_paused_stays_paused(sqlite: Database, guard: DiskGuard, disk: Disk) -> None:
    search, lease = factories.start_search(sqlite)
    with sqlite.write() as session:
        requests.ask_to_pause(session, search.id)
    disk.free_gb = 0.1
    assert guard.step(sqlite) == []
    stop_driver(sqlite, lease)
    disk.free_gb = 100
    guard.step(sqlite)
    assert search_of(sqlite, search.id)[0] is SearchStatus.PAUSED


def test_what_a_user_pauses_after_the_guard_stopped_it_stays_paused(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.1
    guard.step(sqlite)
    stop_driver(sqlite, lease)
    guard.step(sqlite)
    with sqlite.write() as session:
        requests.ask_to_pause(session, search.id)
    guard.step(sqlite)
    assert search_of(sqlite, search.id) == (SearchStatus.PAUSED, "paused by a user")


@pytest.mark.parametrize("has_seen", [False, True])
def test_what_a_user_pauses_while_the_guard_is_pausing_it_stays_paused(
    sqlite: Database, guard: DiskGuard, disk: Disk, has_seen: bool
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.1
    guard.step(sqlite)
    with sqlite.write() as session:
        if has_seen:
            queue.acknowledge_stop(session, lease)
        asked = requests.ask_to_pause(session, search.id)
        assert (asked.desired, asked.desired_by) == (Desired.PAUSE, DesiredBy.USER)
    assert messages_of(sqlite, search.id)[-1] == "a user asked to pause"
    stop_driver(sqlite, lease)
    disk.free_gb = 100

    guard.step(sqlite)

    assert search_of(sqlite, search.id) == (SearchStatus.PAUSED, "paused by a user")


def test_what_a_user_pauses_after_the_guard_has_paused_it_stays_paused(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.1
    guard.step(sqlite)
    stop_driver(sqlite, lease)
    for _ in range(2):  # twice is once
        with sqlite.write() as session:
            requests.ask_to_pause(session, search.id)
    assert messages_of(sqlite, search.id)[-2:] == [
        "stopped: low disk space; resumes automatically",
        "paused by a user",
    ]
    disk.free_gb = 100

    guard.step(sqlite)

    assert search_of(sqlite, search.id) == (SearchStatus.PAUSED, "paused by a user")


def test_what_a_user_resumes_while_the_guard_is_pausing_it_is_paused_again_if_space_is_low(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.1
    guard.step(sqlite)
    with sqlite.write() as session:
        asked = requests.ask_to_resume(session, search.id)
        assert (asked.desired, asked.desired_by) == (Desired.RUN, DesiredBy.USER)
    assert guard.step(sqlite) == [lease.work_id]
    with sqlite.write() as session:
        requests.ask_to_resume(session, search.id)
    disk.free_gb = 100
    assert guard.step(sqlite) == []


@pytest.mark.parametrize("ask", [requests.ask_to_cancel, requests.ask_to_kill])
def test_what_a_user_cancels_while_the_guard_is_pausing_it_is_cancelled(
    sqlite: Database,
    guard: DiskGuard,
    disk: Disk,
    ask: Callable[[Session, str], WorkRow],
) -> None:
    search, lease = factories.start_search(sqlite)
    disk.free_gb = 0.1
    guard.step(sqlite)
    with sqlite.write() as session:
        ask(session, search.id)
    guard.step(sqlite)
    stop_driver(sqlite, lease)
    assert search_of(sqlite, search.id)[0] is SearchStatus.CANCELLED
