"""The fault matrix where database or artifact store are away: PostgreSQL, and a disk of its own."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.postgresql import Server, running_server
from tests.chaos.recovery import recovered
from tests.chaos.site import Site, running_site

pytestmark = [pytest.mark.chaos, pytest.mark.e2e, pytest.mark.timeout(600)]

SIZE = "16m"
"""Of the disk that artifacts lie on."""
OUTAGE_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk in memory. Skips where this user may not mount one."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)):
        pytest.skip("to fill a disk or make it read-only takes a user who may mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, server: Server, disk: Path) -> Iterator[Site]:
    environment = {
        "SEARCHD_DATABASE_URL": server.url,
        "SEARCHD_ARTIFACTS": str(disk / "artifacts"),
    }
    with running_site(tmp_path_factory.mktemp("chaos"), environment=environment) as site:
        site.add_teachers()
        yield site


def test_search_outlasts_a_database_that_is_away_for_less_than_a_lease(
    site: Site, server: Server
) -> None:
    search = site.submit_busy("database-away")
    before, (driver,) = site.finished(search), site.drivers(search)

    server.stop()
    site.release(search)
    time.sleep(OUTAGE_S)
    server.start()

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before) + 1)
    recovered(f"PostgreSQL away for {OUTAGE_S:.0f} s", "results come in", took_s, bound_s=10)
    assert site.client.is_ready()
    assert driver.is_running()
    site.check_end(search, before)


def test_search_outlasts_a_database_that_is_away_for_30_s(site: Site, server: Server) -> None:
    search = site.submit_busy("database-away-30-s")
    before = site.finished(search)

    server.stop()
    site.release(search)
    time.sleep(30)
    server.start()

    took_s = site.wait_until(site.client.is_ready)
    recovered("PostgreSQL away for 30 s", "the API is ready", took_s, bound_s=10)
    took_s += site.wait_until(lambda: len(site.finished(search)) > len(before) + 1)
    recovered("PostgreSQL away for 30 s", "results come in", took_s, bound_s=30)
    site.check_end(search, before)


def test_search_waits_while_the_artifact_store_is_full(site: Site, disk: Path) -> None:
    search = site.submit_busy("full")
    ballast = disk / "ballast"

    _fill(ballast)
    site.release(search)
    site.wait_until(lambda: _is_still(site, search))
    before = site.finished(search)
    ballast.unlink()

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("artifact store full", "results come in", took_s, bound_s=10)
    site.check_end(search, before)
    assert {attempt.number for attempt in site.attempts(search)} == {1}


def test_search_waits_while_the_artifact_store_is_read_only(site: Site, disk: Path) -> None:
    search = site.submit_busy("read-only")

    _remount(disk, "ro")
    site.release(search)
    try:
        site.wait_until(lambda: _is_still(site, search))
        before = site.finished(search)
    finally:
        _remount(disk, "rw")

    took_s = site.wait_until(lambda: len(site.finished(search)) > len(before))
    recovered("artifact store read-only", "results come in", took_s, bound_s=10)
    site.check_end(search, before)
    assert {attempt.number for attempt in site.attempts(search)} == {1}


def _is_still(site: Site, search: str) -> bool:
    """Whether no trial has ended for some seconds, which is longer than a trial takes."""
    before = site.finished(search)
    time.sleep(5)
    return site.finished(search) == before


def _fill(ballast: Path) -> None:
    size = os.statvfs(ballast.parent).f_blocks * os.statvfs(ballast.parent).f_frsize
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(size // 4096):
            file.write(bytes(4096))
    assert os.statvfs(ballast.parent).f_bavail == 0


def _remount(disk: Path, mode: str) -> None:
    # A file that is open for writing at this very moment forbids it.
    while not _mount("-o", f"remount,{mode}", str(disk)):
        time.sleep(0.01)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
