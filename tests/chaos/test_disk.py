"""The fault matrix for the disk of the artifact store: it is full or read-only."""

import time
from collections.abc import Iterator

import pytest

from searchd.domain.lifecycle import SearchStatus
from tests.chaos import workers
from tests.chaos.disk import Disk, mounted_disk
from tests.chaos.recovery import recovered
from tests.chaos.site import Site, running_site

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

SIZE = "16m"
MIN_FREE_GB = 0.004
NEARLY_FULL_BYTES = 1_000_000
"""Free bytes: less than half of `MIN_FREE_GB`, and enough for checkpoints."""
NEW_DRIVER_S = 20.0
"""Bound in seconds on new results where a driver has to be started first."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with mounted_disk(tmp_path_factory.mktemp("disk"), size=SIZE) as disk:
        yield disk


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, disk: Disk) -> Iterator[Site]:
    environment = {
        "SEARCHD_ARTIFACTS": str(disk.folder / "artifacts"),
        "SEARCHD_MIN_FREE_GB": str(MIN_FREE_GB),
    }
    # The database is on another disk, which the disk guard watches too.
    with running_site(tmp_path_factory.mktemp("chaos"), environment=environment) as site:
        site.add_teachers()
        yield site


def test_search_is_stopped_before_the_disk_is_full_and_resumes_automatically(
    site: Site, disk: Disk
) -> None:
    search = site.submit_busy("nearly-full")
    before = site.finished(search)

    disk.fill(leave_bytes=NEARLY_FULL_BYTES)

    took_s = site.wait_until(lambda: site.drivers(search) == [])
    recovered("disk nearly full", "its driver has ended", took_s, bound_s=10)
    site.wait_until(lambda: "waits: only 0.0 GB free on" in _status(site, search)[1])
    assert _status(site, search)[0] is SearchStatus.QUEUED
    assert site.finished(search) == before
    disk.free()
    site.release(search)
    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("disk nearly full, then freed", "results come in", took_s, bound_s=NEW_DRIVER_S)
    site.check_end(search, before)


def test_search_waits_while_the_disk_is_full_and_resumes_automatically(
    site: Site, disk: Disk
) -> None:
    search = site.submit_busy("full")

    disk.fill()
    site.release(search)
    site.wait_until(lambda: _status(site, search)[0] is SearchStatus.PAUSING)
    site.wait_until(lambda: _is_idle(site, search))
    before = site.finished(search)
    assert "low disk space" in _status(site, search)[1]
    disk.free()

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("disk full, then freed", "results come in", took_s, bound_s=NEW_DRIVER_S)
    site.check_end(search, before)


def test_search_waits_while_the_disk_is_read_only(site: Site, disk: Disk) -> None:
    search = site.submit_busy("read-only")

    with disk.read_only():
        site.release(search)
        site.wait_until(lambda: _is_idle(site, search))
        before = site.finished(search)

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("disk read-only, then writable", "results come in", took_s, bound_s=10)
    site.check_end(search, before)
    assert {attempt.number for attempt in site.attempts(search)} == {1}


def test_trials_are_retried_when_the_disk_is_read_only_for_longer_than_the_write_timeout(
    site: Site, disk: Disk
) -> None:
    search = site.submit("read-only-for-long")
    workers.hold(site.notes, search)
    workers.shorten_write_timeout(site.notes, search)
    site.wait_until(lambda: site.is_busy(search))
    before, lost = site.finished(search), [attempt.name for attempt in site.running(search)]

    with disk.read_only():
        site.release(search)
        site.wait_until(lambda: {a.name for a in site.attempts(search) if a.number > 1} >= {*lost})
        assert site.finished(search) == before

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("disk read-only for long, then writable", "results come in", took_s, bound_s=10)
    site.check_end(search, before)
    assert all(row.adjustments == {} for row in site.trials(search))  # no retry was counted
    said = [event.message for event in site.client.search_events(search)]
    assert [m for m in said if "store_refused: [Errno 30] Read-only file system" in m]
    assert all(a.first_slice > 0 for a in site.attempts(search) if a.number > 1)


def _status(site: Site, search: str) -> tuple[SearchStatus, str]:
    now = site.client.get_search(search)
    return now.status, now.status_reason


def _is_idle(site: Site, search: str) -> bool:
    """Return whether no trial has ended for five seconds, which is longer than a trial takes."""
    before = site.finished(search)
    time.sleep(5)
    return site.finished(search) == before
