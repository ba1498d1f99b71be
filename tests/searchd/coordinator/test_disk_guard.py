"""The guard of disk space: what it looks at, what it stops, and that it goes on by itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from searchd.coordinator.disk_guard import DiskGuard, guarded_folders
from searchd.coordinator.jobs import JobStatus
from searchd.coordinator.loop import Action, Coordinator, CoordinatorEvent
from searchd.domain.lifecycle import SearchStatus, WorkStatus
from searchd.settings import Settings
from searchd.store import Database, Desired, Lease
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


def stop_driver(database: Database, lease: Lease) -> None:
    """What a driver does that is told to stop."""
    with database.write() as session:
        queue.acknowledge_stop(session, lease)
    with database.write() as session:
        queue.stopped(session, lease)


def test_too_little_room_is_said_with_what_would_help(guard: DiskGuard, disk: Disk) -> None:
    assert guard.shortage() is None
    disk.free_gb = 1.234
    assert guard.shortage() == (
        "only 1.2 GB free on /artifacts, needs 2 GB; free some or set SEARCHD_MIN_FREE_GB"
    )


def test_free_space_is_of_the_disk_also_before_the_folder_is_made(tmp_path: Path) -> None:
    guard = DiskGuard([tmp_path / "not" / "yet"], min_free_gb=1e12)
    assert f"GB free on {tmp_path}/not/yet, needs 1e+12 GB" in str(guard.shortage())
    assert DiskGuard([tmp_path], min_free_gb=0).shortage() is None


@pytest.mark.parametrize(
    ("changes", "folders"),
    [
        ({}, ["/data/artifacts", "/data"]),
        ({"artifacts": "file:///nfs/artifacts"}, ["/nfs/artifacts", "/data"]),
        ({"artifacts": "memory://bucket", "database_url": "postgresql+psycopg://db/x"}, []),
        ({"artifacts": "/nfs", "database_url": "sqlite:////db/searchd.sqlite"}, ["/nfs", "/db"]),
    ],
)
def test_folders_are_looked_at_and_remote_stores_are_not(
    changes: dict[str, Any], folders: list[str]
) -> None:
    settings = Settings(data_folder=Path("/data"), **changes)
    assert [str(folder) for folder in guarded_folders(settings)] == folders


def test_no_work_is_started_while_there_is_too_little_room(
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
    assert [deed.action for deed in coordinator.step()] == [Action.STARTED]


def test_running_work_is_stopped_waits_and_goes_on_by_itself(
    sqlite: Database, guard: DiskGuard, disk: Disk
) -> None:
    search, lease = factories.start_search(sqlite)
    jobs = ScriptedJobs()
    jobs.statuses[f"{lease.work_id}-1"] = JobStatus.RUNNING
    coordinator = Coordinator(
        sqlite, jobs, lease_s=60, max_running_searches=1, max_attempts=3, guard=guard
    )
    disk.free_gb = 1.2  # too little to start anything, enough to go on
    assert guard.step(sqlite) == []
    disk.free_gb = 0.9
    assert guard.step(sqlite) == [lease.work_id]
    assert guard.step(sqlite) == []
    stop_driver(sqlite, lease)
    assert search_of(sqlite, search.id)[0] is SearchStatus.PAUSED

    guard.step(sqlite)

    assert search_of(sqlite, search.id) == (SearchStatus.QUEUED, "waits for disk space")
    assert [deed.action for deed in coordinator.step()] == [Action.WAITS]
    assert search_of(sqlite, search.id)[1].startswith("waits: only 0.9 GB free on /artifacts")
    disk.free_gb = 3.0
    assert guard.step(sqlite) == []
    assert [deed.action for deed in coordinator.step()] == [Action.STARTED]


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
        "stopped for want of disk space; goes on by itself when there is room: only 0.9 GB free on "
        "/artifacts, needs 2 GB; free some or set SEARCHD_MIN_FREE_GB; what is running is stopped",
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
    assert search_of(sqlite, search.id) == (SearchStatus.PAUSED, "a user asked to pause")
