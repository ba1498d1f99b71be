"""Bars show what is done, and estimate what is left."""

import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from api import schemas
from api.client import Client
from cli import bars
from searchd.domain.lifecycle import PoolStatus, SearchStatus, TrialStatus
from searchd.messages.reports import PoolProgress, Progress
from searchd.store import Database, Lease
from searchd.store.models import TrialRow
from searchd.store.resources import pools
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.api.service import Service
from tests.searchd.store import factories
from tests.searchd.store.factories import (
    add_dataset,
    add_pool,
    add_search,
    base_proposal,
    leased,
    run_trial,
    search_proposal,
    start_search,
)


def test_bars_show_running_trials_and_the_whole_search(
    service: Service, database: Database
) -> None:
    search, lease = start_search(database)
    run_trial(database, lease, base_proposal())
    run_trial(database, lease, search_proposal(0))
    run_trial(database, lease, search_proposal(1))
    with database.write() as session:
        running = session.get_one(TrialRow, f"{search.id}-1")
        running.status = TrialStatus.RUNNING
        running.finished_at, running.started_at = None, datetime.now(UTC) - timedelta(seconds=60)
        running.progress = PROGRESS

    with Client(service.url) as client:
        found = client.get_search(search.id)
        trial, whole = bars.bars_of(client, found)

    assert (trial.name, trial.done, trial.text) == ("trial 1", 0.375, "epoch 2 of 4")
    assert trial.left_s is not None
    assert trial.left_s >= 100  # 60 s for three eighths, and whatever the test has taken
    assert whole.text == f"running: 1 of {found.spec.budget.max_trials} trials"
    assert whole.left_s is not None


def test_bars_are_drawn_with_share_time_and_text() -> None:
    console = Console(width=100, force_terminal=True, color_system=None)
    shown = [bars.Bar("base", 0.5, 3909, "epoch 2 of 4"), bars.Bar("trial 1", 0, None, "starting")]

    with console.capture() as capture:
        console.print(bars.drawn(shown))

    base, trial = capture.get().splitlines()
    assert base.startswith("base")
    assert " 50 %" in base
    assert "1:05:09  epoch 2 of 4" in base
    assert "0 %  -:--     starting" in trial


def pool_progress(pool: str) -> PoolProgress:
    return PoolProgress(
        pool=pool,
        attempt=1,
        phase="supernet",
        epoch=14,
        num_epochs=36,
        iteration=5,
        num_iterations=10,
        losses={},
        seconds_left=300,
    )


PROGRESS = Progress(
    trial="1",
    attempt=1,
    epoch=2,
    num_epochs=4,
    iteration=5,
    num_iterations=10,
    stage="train",
    losses={},
)


def test_bars_of_a_search_that_is_prepared_show_its_pool_and_its_base(
    service: Service, database: Database
) -> None:
    preparing(database)

    with Client(service.url) as client:
        pool, base, whole = bars.bars_of(client, client.get_search("first"))

    assert (pool.name, pool.done, pool.left_s) == ("pool teachers", 0.125, 300)
    assert pool.text == "supernet: epoch 14 of 36"
    assert (base.name, base.done, base.text) == ("base", 0.375, "epoch 2 of 4")
    assert base.left_s is not None
    assert 100 <= base.left_s < 200  # 60 s for three eighths, and whatever the test has taken
    assert (whole.done, whole.left_s, whole.text) == (0, None, "preparing: 0 of 4 trials")


@pytest.mark.parametrize(
    ("at", "share"),
    [
        ({"epoch": 36, "iteration": 10}, 36 / 108),  # the last iteration of the first phase
        ({"epoch": 36, "iteration": 0, "stage": "evaluate"}, 36 / 108),
        ({"phase": "import", "epoch": 1, "iteration": 1, "stage": "evaluate"}, 0.1),
    ],
)
def test_a_pool_that_measures_subnets_is_as_far_as_its_epochs(
    at: dict[str, Any], share: float
) -> None:
    spec = factories.pool_spec()
    progress = schemas.PoolProgress.model_validate(replace(pool_progress("p"), **at))
    assert bars.pool_share(spec, progress) == pytest.approx(share)


@pytest.mark.timeout(60)  # a process of its own
def test_watch_draws_the_bars_on_a_terminal_until_the_search_has_ended(
    service: Service, database: Database
) -> None:
    lease = preparing(database)
    command = [sys.executable, "-m", "cli.main", "search", "watch", "first", "--url", service.url]
    master, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "30"}

    with subprocess.Popen(command, stdout=terminal, stderr=terminal, env=environment) as watching:
        os.close(terminal)
        shown = b""
        while b"of 4 trials" not in shown:
            shown += os.read(master, 4096)
        with database.write() as session:
            queue.finish(session, lease, SearchStatus.FAILED, "no base")
        while b"no base" not in shown:
            shown += os.read(master, 4096)
    os.close(master)

    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"pool teachers +[━╸╺]+ +12 % +5:00 +supernet: epoch 14 of 36", plain)
    assert re.search(r"base +[━╸╺]+ +38 % +\d+:\d\d +epoch 2 of 4", plain)
    assert "error: search first is failed: no base" in plain
    assert watching.returncode == 1


def preparing(database: Database) -> Lease:
    """A search "first" whose pool and base are being trained; the lease of its driver."""
    add_dataset(database)
    pool = add_pool(database, ready=False)
    with leased(database, f"pool-{pool}") as (session, lease):
        queue.advance(session, lease, PoolStatus.TRAINING, "started")
        pools.record_progress(session, lease, pool_progress(pool))
    search = add_search(database, budget={"max_trials": 4, "finish": None})
    with leased(database, f"search-{search.id}") as (session, lease):
        queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        trials.add(session, lease, base_proposal())
        trials.start(session, lease, "base")
    with database.write() as session:
        base = session.get_one(TrialRow, f"{search.id}-base")
        base.started_at = datetime.now(UTC) - timedelta(seconds=60)
        base.progress = replace(PROGRESS, trial="base")
    return lease
