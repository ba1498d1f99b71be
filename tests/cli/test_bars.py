"""Bars show what is done, and estimate what is left."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from api.client import Client
from cli import bars
from searchd.domain.lifecycle import TrialStatus
from searchd.messages.reports import Progress
from searchd.store import Database
from searchd.store.models import TrialRow
from tests.api.service import Service
from tests.searchd.store.factories import base_proposal, run_trial, search_proposal, start_search


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
