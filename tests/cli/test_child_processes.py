"""Child processes: started again, found by their mark, ended."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from cli.child_processes import Child, end, free_ports, marked

MARK = "SEARCHD_TEST_MARK"
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(600)",
]


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(
        "sleeper",
        command=SLEEP,
        environment={MARK: str(tmp_path)},
        folder=tmp_path,
        log_file=tmp_path / "sleeper.log",
    )
    yield made
    made.stop()


def test_child_that_runs_is_left_alone(child: Child) -> None:
    child.start()

    assert not child.keep_running()
    assert child.exit_code is None


def test_child_that_died_is_started_again_after_a_back_off_that_grows(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("cli.child_processes.time", SimpleNamespace(monotonic=lambda: now))
    child.start()
    delays = []
    for _ in range(7):
        assert child.process is not None
        child.process.kill()
        child.process.wait()
        assert not child.keep_running()
        delays.append(child.not_before - now)
        now = child.not_before
        assert child.keep_running()

    assert delays == [1, 2, 4, 8, 16, 30, 30]


def test_child_that_ran_long_is_started_again_at_once(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("cli.child_processes.time", SimpleNamespace(monotonic=lambda: now))
    child.start()
    assert child.process is not None
    child.process.kill()
    child.process.wait()
    now += 60

    assert child.keep_running()


def test_tail_shows_the_end_of_the_log(child: Child, tmp_path: Path) -> None:
    (tmp_path / "sleeper.log").write_text("\n".join(map(str, range(20))))

    expected = [f"the last lines of {tmp_path / 'sleeper.log'} are:", *map(str, range(10, 20))]
    assert child.tail().splitlines() == expected


def test_marked_finds_what_carries_the_mark_and_its_descendants_and_nothing_else(
    child: Child, tmp_path: Path
) -> None:
    other = subprocess.Popen(SLEEP, env={MARK: "another value"})
    grandchild = (
        "import os, subprocess, sys; subprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(600)'], env={}); import time; time.sleep(600)"
    )
    child.command = [sys.executable, "-c", grandchild]
    child.start()
    assert child.process is not None
    while not psutil.Process(child.process.pid).children():
        pass

    found = marked(MARK, str(tmp_path))

    (descendant,) = psutil.Process(child.process.pid).children()
    assert {process.pid for process in found} == {child.process.pid, descendant.pid}
    assert end(found) == []
    assert other.poll() is None
    other.kill()
    other.wait()


def test_end_kills_what_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.child_processes._STOP_GRACE_S", 0.2)
    stubborn = subprocess.Popen(STUBBORN, stdout=subprocess.PIPE)
    assert stubborn.stdout is not None
    stubborn.stdout.readline()

    assert end([psutil.Process(stubborn.pid)]) == []

    assert not psutil.pid_exists(stubborn.pid)
    stubborn.wait()
    stubborn.stdout.close()


def test_free_ports_are_distinct_and_none_that_an_outgoing_connection_may_have() -> None:
    found = free_ports(20)

    assert len(set(found)) == 20
    assert max(found) < 30_000
