"""What the ledger tells the strategy of time and accuracy, on which budgets depend."""

from dataclasses import replace

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import FailureCause
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome
from searchd.driver.ledger import Ledger
from searchd.messages.reports import Report
from searchd.search.ask_tell import decide
from searchd.search.history import Finished, OperatingPoint
from searchd.settings import Settings
from searchd.spec import BudgetSpec
from searchd.spec.budget import TargetSpec
from searchd.store import Database, Lease
from searchd.store.models import RunRow
from searchd.store.runs.extension import ask_to_extend
from tests.searchd.driver.bookkeeping import BASE, failed, started, trial
from tests.searchd.store import factories


class Watch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def ledger(sqlite: Database, lease: Lease, settings: Settings, watch: Watch) -> Ledger:
    return Ledger(sqlite, lease, settings, watch)


def stopped(name: str) -> Report:
    return Report(trial=name, attempt=1, outcome=Outcome.STOPPED, reason="stop requested")


def test_time_with_workers_adds_up_over_attempts(
    sqlite: Database, ledger: Ledger, watch: Watch
) -> None:
    started(ledger, BASE)
    watch.now_s += 10
    ledger.record(stopped("base"))
    watch.now_s += 1000  # nobody has it
    ledger.start(ledger.task(BASE))
    watch.now_s += 5
    ledger.record(failed("base", FailureCause.NON_FINITE_LOSS, attempt=2))
    ledger.start(ledger.task(BASE))
    watch.now_s += 2

    completion = ledger.record(factories.succeeded("base", attempt=3))

    assert completion is not None
    assert completion.busy_s == trial(sqlite, ledger, "base").busy_s == 17.0


def test_time_until_the_last_progress_counts_when_the_driver_dies(
    sqlite: Database, lease: Lease, ledger: Ledger, settings: Settings, watch: Watch
) -> None:
    started(ledger, BASE)
    watch.now_s += 30
    ledger.progress(factories.progress("base"))
    watch.now_s += 4

    Ledger(sqlite, lease, settings, watch).recover()

    assert trial(sqlite, ledger, "base").busy_s == 30.0


def test_next_driver_gets_the_same(
    sqlite: Database, lease: Lease, ledger: Ledger, settings: Settings, watch: Watch
) -> None:
    started(ledger, BASE)
    watch.now_s += 10

    completion = ledger.record(factories.succeeded("base"))

    assert completion is not None
    assert completion.points == (
        OperatingPoint(resolution=Resolution(64, 64), ap=0.25, macs=1e9),
        OperatingPoint(resolution=Resolution(96, 96), ap=0.5, macs=2e9),
    )
    assert 0 <= completion.elapsed_s < 60
    next_driver = Ledger(sqlite, lease, settings, watch)
    assert list(next_driver.history.completions) == [completion]


def test_budget_that_was_extended_is_the_one_that_ends_the_search(
    sqlite: Database, lease: Lease, ledger: Ledger, settings: Settings
) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    started(ledger, factories.search_proposal(0))
    with sqlite.write() as session:
        run = session.get_one(RunRow, ledger.run_id)
        run.spec = run.spec.model_copy(update={"control": False})
        target = TargetSpec(ap=0.6, macs=3e9)
        ask_to_extend(session, ledger.run_id, {"target": target.model_dump()})
    ledger.record(factories.succeeded("0", ap=0.6))

    next_driver = Ledger(sqlite, lease, settings)
    finished = decide(next_driver.strategy(), next_driver.history)

    assert finished == Finished(
        "target: trial 0 has AP 60.0% with 2 GMACs at 96x96", succeeded=True
    )


def test_limit_that_was_reached_before_is_refused(sqlite: Database, ledger: Ledger) -> None:
    started(ledger, BASE)
    ledger.record(factories.succeeded("base"))
    started(ledger, factories.search_proposal(0))
    ledger.record(factories.succeeded("0", ap=0.6))

    message = "first would have nothing to do: target: trial 0"
    with factories.refused(sqlite, InvalidValueError, message) as session:
        ask_to_extend(session, ledger.run_id, {"target": {"ap": 0.5}})


def test_gpu_hours_of_a_search_without_gpus_are_refused() -> None:
    budget = BudgetSpec(max_gpu_hours=8)

    with pytest.raises(ValueError, match=r"budget\.max_gpu_hours=8 is never spent with"):
        factories.search_spec(budget=budget)
    with_gpu = factories.search_spec().resources.model_copy(update={"gpus_per_trial": 0.5})
    assert factories.search_spec(budget=budget, resources=with_gpu).budget == budget


def test_report_that_comes_twice_takes_no_time(
    sqlite: Database, ledger: Ledger, watch: Watch
) -> None:
    started(ledger, BASE)
    watch.now_s += 10
    ledger.record(factories.succeeded("base"))
    watch.now_s += 10

    ledger.record(replace(factories.succeeded("base"), params=1))

    assert trial(sqlite, ledger, "base").busy_s == 10.0
