"""`searchd search report`."""

import json

import pytest

from searchd.domain.lifecycle import SearchStatus
from searchd.messages.tasks import SplitMeasurement
from searchd.store import Database
from searchd.store.models import FinalSplit
from searchd.store.runs import split_evaluations, trials
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.factories import (
    base_proposal,
    control_proposal,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)


def measurement(ap: float) -> SplitMeasurement:
    """Resamples between 5 points below the AP and 5 points above."""
    return SplitMeasurement(
        ap=ap,
        ap50=0.7,
        ap75=0.5,
        ap_small=-1,
        ap_medium=0.5,
        ap_large=0.5,
        num_images=40,
        resampled=tuple(ap - 0.05 + 0.0001 * number for number in range(1000)),
    )


@pytest.fixture
def searched(database: Database) -> str:
    """A search that succeeded, measured on the test split."""
    row, lease = start_search(database)
    run_trial(database, lease, base_proposal(), succeeded("base", ap=0.4))
    run_trial(database, lease, search_proposal(0), succeeded("0", ap=0.6, macs=1e9))
    run_trial(database, lease, control_proposal(1), succeeded("control-1", ap=0.5))
    with database.write() as session:
        found = {
            trials.get(session, f"{row.id}-{name}").evaluations[1].id: measurement(ap)
            for name, ap in (("base", 0.41), ("0", 0.55), ("control-1", 0.5))
        }
        split_evaluations.record(session, lease, FinalSplit.TEST, found)
        queue.finish(session, lease, SearchStatus.SUCCEEDED, "budget spent")
    return row.name


def test_the_report_says_what_was_gained_and_on_which_data(searchd: Run, searched: str) -> None:
    result = searchd("search", "report", searched)

    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "It is better than the base at 96x96: +14.0 points" in " ".join(lines)
    assert "The search gained. Figures are of the test split (40 images)" in " ".join(lines)
    assert "best 0 96x96 (its best) 55.0 [50.2, 59.7] 60.0 1000.0 12.35 20.0" in lines
    assert "control 96x96 against 96x96 +5.0 +5.0 to +5.0 0.50 better" in lines


def test_the_report_as_json_has_every_difference(searchd: Run, searched: str) -> None:
    result = searchd("search", "report", searched, "--format", "json")

    found = json.loads(result.stdout)
    assert found["split"] == "test"
    assert [(d["reference"], d["at"]) for d in found["differences"]] == [
        ("base", "equal_resolution"),
        ("control", "equal_resolution"),
    ]


def test_watch_ends_with_the_report(searchd: Run, searched: str) -> None:
    result = searchd("search", "watch", searched)

    assert result.exit_code == 0
    assert "The best detector is trial 0." in result.stdout


def test_the_front_shows_ap_on_test_with_its_interval(searchd: Run, searched: str) -> None:
    result = searchd("search", "pareto", searched)

    assert "TEST AP %" in result.stdout
    assert "55.0 [50.2, 59.7]" in result.stdout


def test_nothing_to_report_is_an_error(searchd: Run, database: Database) -> None:
    start_search(database)

    result = searchd("search", "report", "first")

    assert result.exit_code == 1
    assert "has no accepted trial yet" in result.stderr
