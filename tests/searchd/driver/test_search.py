"""How a search's driver goes from stage to stage; Tune is played by a loop, Ray is not there."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus
from searchd.domain.trial import Outcome, Report
from searchd.driver.ledger import Ledger
from searchd.driver.search import run_search
from searchd.settings import Settings
from searchd.spec import SearchSpec, TrialOrder
from searchd.store import Database, pools, searches, work
from searchd.tune_adapter import Conductor
from tests.searchd.store import factories

Work = Callable[[TrialOrder], Report]


class Stage:
    """A search and everything around its driver.

    Attributes:
        work: What workers do.
        begun: Names of the trials that workers began, one list for each Tuner.
        between_tuners: Called before each Tuner but the first.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        factories.add_dataset(database)
        self.pool_id = factories.add_pool(database, ready=False)
        self.search_id = factories.add_search(database).id
        with factories.leased(database, f"search-{self.search_id}") as (_, lease):
            self.ledger = Ledger(database, lease, settings)
        self.stopping = threading.Event()
        self.work: Work = lambda order: factories.succeeded(order.proposal.name)
        self.begun: list[list[str]] = []
        self.between_tuners: Callable[[], None] = self.finish_pool

    def run(self) -> tuple[SearchStatus, str]:
        return run_search(self.ledger, self.settings, self.stopping)

    def run_tuner(self, conductor: Conductor, *_: Any, **__: Any) -> None:
        """One trial at a time until there is nothing left."""
        if self.begun:
            self.between_tuners()
        self.begun.append([])
        conductor.heed()
        while (order := conductor.next(str(len(self.begun[-1])))) is not None:
            tune_id = str(len(self.begun[-1]))
            conductor.started(tune_id)
            self.begun[-1].append(order.proposal.name)
            conductor.reported(tune_id, self.work(order))
            conductor.heed()

    def finish_pool(self, outcome: Outcome = Outcome.SUCCEEDED, reason: str = "") -> None:
        with factories.leased(self.database, f"pool-{self.pool_id}") as (session, lease):
            work.advance(session, lease, PoolStatus.TRAINING, "started")
            pools.record_report(
                session, lease, factories.pool_report(self.pool_id, outcome, reason)
            )

    def status(self) -> SearchStatus:
        with self.database.read() as session:
            return searches.get(session, self.search_id).status


@pytest.fixture
def stage(sqlite: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(sqlite, settings)
    monkeypatch.setattr("searchd.driver.search.connect", lambda _: None)
    monkeypatch.setattr("searchd.driver.search.resolve", lambda _: None)
    monkeypatch.setattr("searchd.driver.search.run_tuner", made.run_tuner)
    monkeypatch.setattr("searchd.driver.search.measure_latencies", lambda *_: None)
    monkeypatch.setattr("searchd.driver.search._POOL_POLL_S", 0.0)
    assert isinstance(made.ledger.spec, SearchSpec)
    monkeypatch.setattr(
        made.ledger,
        "spec",
        made.ledger.spec.model_copy(
            update={"budget": made.ledger.spec.budget.model_copy(update={"max_trials": 2})}
        ),
    )
    return made


def test_base_is_trained_while_the_pool_is_not_ready_and_frees_the_cluster_then(
    stage: Stage,
) -> None:
    seen: list[SearchStatus] = []

    def note(order: TrialOrder) -> Report:
        seen.append(stage.status())
        return factories.succeeded(order.proposal.name)

    stage.work = note

    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 2 trials")

    # One control: the best trial's lineage has one step.
    assert stage.begun == [["base"], ["0", "1", "control-1"]]
    assert seen == [SearchStatus.PREPARING, *[SearchStatus.RUNNING] * 3]
    assert stage.status() is SearchStatus.SUCCEEDED


def test_search_with_a_ready_pool_runs_without_a_break(stage: Stage) -> None:
    stage.finish_pool()

    stage.run()

    assert stage.begun == [["base", "0", "1", "control-1"]]


def test_search_fails_when_its_pool_does(stage: Stage) -> None:
    stage.between_tuners = lambda: stage.finish_pool(Outcome.FAILED, "loss is nan")

    status, reason = stage.run()

    assert status is SearchStatus.FAILED
    assert reason == "its pool of teachers is failed: failed: loss is nan"
    assert stage.begun[0] == ["base"]


def test_search_fails_with_the_reason_when_its_base_cannot_be_trained(stage: Stage) -> None:
    stage.work = lambda order: Report(
        trial=order.proposal.name,
        attempt=order.attempt,
        outcome=Outcome.FAILED,
        cause=FailureCause.OUT_OF_MEMORY,
        reason="CUDA out of memory",
    )

    assert stage.run() == (
        SearchStatus.FAILED,
        "the base detector could not be trained; "
        "the last failure is trial base (out_of_memory): CUDA out of memory; with a batch of 2",
    )


def test_cancelled_search_keeps_what_is_finished_and_runs_nothing_more(stage: Stage) -> None:
    stage.finish_pool()

    def cancel_during_trial_0(order: TrialOrder) -> Report:
        if order.proposal.name == "0":
            with stage.database.write() as session:
                work.ask_to_cancel(session, stage.search_id)
            stage.stopping.set()
        return factories.succeeded(order.proposal.name)

    stage.work = cancel_during_trial_0

    assert stage.run() == (SearchStatus.CANCELLED, "a user asked to cancel")
    assert stage.begun == [["base", "0"]]
    assert [row.name for row in stage.ledger.scored()] == ["base", "0"]


def test_search_that_is_cancelled_while_it_waits_for_its_pool_ends(stage: Stage) -> None:
    def cancel() -> None:
        with stage.database.write() as session:
            work.ask_to_cancel(session, stage.search_id)
        stage.stopping.set()

    stage.between_tuners = cancel

    assert stage.run()[0] is SearchStatus.CANCELLED
