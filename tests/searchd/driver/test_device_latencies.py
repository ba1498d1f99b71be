"""A search by latency: trials are scored by the table, its best detectors are measured."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayError

from searchd.domain.score import score
from searchd.driver import device_latencies as driver_module
from searchd.driver import devices as placing
from searchd.driver.device_latencies import finalists, measure_on_device
from searchd.driver.ledger import Ledger
from searchd.messages.devices import DeviceLatency, DeviceLatencyTask
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec import BudgetSpec, ScoreSpec
from searchd.store import Database, Lease
from searchd.store.models import EventRow
from searchd.store.runs import trials
from tests.searchd.driver.bookkeeping import submitted, trial
from tests.searchd.store import factories
from tests.searchd.store.device_factory import add_device, device_report

ON_LAPTOP = ScoreSpec.model_validate(
    {"cost": "latency", "device": "laptop", "base_resolution": "96x96"}
)


@pytest.fixture
def fast(sqlite: Database, lease: Lease, settings: Settings) -> Ledger:
    """The ledger of a search by latency."""
    add_device(sqlite)
    spec = factories.search_spec(score=ON_LAPTOP, budget=BudgetSpec())
    return submitted(sqlite, lease, settings, spec)


def report(name: str, ap: float, macs: float, seconds: float) -> Report:
    """A success at 96x96 alone, with this prediction."""
    at = replace(factories.evaluation(factories.LARGE, ap, macs), cost=seconds)
    return replace(factories.succeeded(name), evaluations=(at,), base_macs=macs, base_cost=seconds)


def record(ledger: Ledger, name: str, ap: float, macs: float, seconds: float) -> None:
    proposal = {
        "base": factories.base_proposal(),
        "finish-1": factories.finish_proposal(1, "0"),
    }.get(name) or factories.search_proposal(int(name))
    ledger.propose(proposal)
    ledger.start(ledger.task(proposal))
    ledger.record(report(name, ap, macs, seconds))


def run_all(ledger: Ledger) -> None:
    record(ledger, "base", ap=0.50, macs=10e9, seconds=0.020)
    record(ledger, "0", ap=0.50, macs=12e9, seconds=0.010)  # more MACs in less time
    record(ledger, "1", ap=0.49, macs=5e9, seconds=0.019)
    record(ledger, "finish-1", ap=0.60, macs=12e9, seconds=0.010)


def on_device(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[DeviceLatencyTask], Any]
) -> list[DeviceLatencyTask]:
    """Let a device of the cluster measure so; return the tasks that it gets."""
    tasks: list[DeviceLatencyTask] = []

    def run(task: DeviceLatencyTask) -> Any:
        tasks.append(task)
        return measure(task)

    ray = SimpleNamespace(
        remote=lambda **_: lambda function: SimpleNamespace(remote=function),
        get=lambda found: found,
        cluster_resources=lambda: {"node:__internal_head__": 1.0},
    )
    monkeypatch.setattr(driver_module, "ray", ray)
    monkeypatch.setattr(placing, "ray", ray)
    monkeypatch.setattr(driver_module, "resolve", lambda _: run)
    return tasks


def events(database: Database) -> list[str]:
    with database.read() as session:
        return [row.message for row in session.query(EventRow).order_by(EventRow.number)]


def test_trials_are_scored_by_the_predicted_latency(sqlite: Database, fast: Ledger) -> None:
    run_all(fast)

    expected = score(
        ap=0.5,
        macs=0.010,
        base_macs=0.020,
        resolution=factories.LARGE,
        base_resolution=factories.LARGE,
    )
    assert trial(sqlite, fast, "0").score == pytest.approx(expected)
    assert trial(sqlite, fast, "base").score == pytest.approx(0.5)
    points = [each.points[0].cost for each in fast.history.completions]
    assert points == [0.020, 0.010, 0.019, 0.010]


def test_the_task_of_a_trial_has_the_table(fast: Ledger) -> None:
    proposal = factories.base_proposal()
    fast.propose(proposal)
    assert fast.task(proposal).table == device_report().table


def test_base_and_finished_detectors_are_measured_on_the_device(
    sqlite: Database, fast: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_all(fast)
    tasks = on_device(
        monkeypatch,
        lambda task: [
            DeviceLatency(median_s=0.0125, p95_s=0.013, quiet=index > 0)
            for index, _ in enumerate(task.detectors)
        ],
    )

    measure_on_device(fast, settings)
    measure_on_device(fast, settings)  # nothing is measured twice

    (task,) = tasks
    assert [each.trial for each in task.detectors] == ["finish-1", "base"]
    (measured,) = trial(sqlite, fast, "finish-1").evaluations
    assert (measured.device_latency_s, measured.device_p95_s) == (0.0125, 0.013)
    assert events(sqlite)[-1] == (
        "2 detectors were measured on device laptop; their predictions are 60.0 % off (median); "
        "the machine was never quiet in 1 of them"
    )


def test_a_device_that_cannot_be_reached_is_said_and_changes_nothing(
    sqlite: Database, fast: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: DeviceLatencyTask) -> list[DeviceLatency]:
        raise RayError("the node died")

    run_all(fast)
    on_device(monkeypatch, lost)

    measure_on_device(fast, settings)

    assert events(sqlite)[-1] == "nothing was measured on device laptop: the node died"
    assert trial(sqlite, fast, "finish-1").evaluations[0].device_latency_s is None


def test_without_finished_detectors_the_front_is_measured(fast: Ledger) -> None:
    record(fast, "base", ap=0.50, macs=10e9, seconds=0.020)
    record(fast, "0", ap=0.49, macs=12e9, seconds=0.010)
    record(fast, "1", ap=0.48, macs=5e9, seconds=0.019)  # dominated in time, not in MACs

    assert [row.name for row, _ in finalists(fast.scored(), "0")] == ["0", "base"]


def test_a_search_by_macs_measures_nothing(
    ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = on_device(monkeypatch, lambda _: [])
    measure_on_device(ledger, settings)
    assert tasks == []
    assert ledger.read(trials.of_search, ledger.run_id) == []
