"""How a search's driver goes from stage to stage; Tune is played by a loop, Ray is not there."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.orm import Session

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause, PoolStatus, SearchStatus
from searchd.domain.trial import Outcome
from searchd.driver.ledger import Ledger
from searchd.driver.trial_loop import run_search
from searchd.driver.tune import TrialScheduler
from searchd.messages.codecs import REPORT
from searchd.messages.reports import Report
from searchd.messages.tasks import TrialTask
from searchd.settings import Settings
from searchd.spec import SearchSpec
from searchd.store import Database, Desired
from searchd.store.models import WorkRow
from searchd.store.resources import pools, searches
from searchd.store.runs.extension import ask_to_extend
from searchd.store.work import queue, requests
from tests.searchd.store import factories

Work = Callable[[TrialTask], Report]
Ask = Callable[[Session, str], WorkRow]


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

    def run_tuner(self, scheduler: TrialScheduler, *_: Any, **__: Any) -> None:
        """One trial at a time until there is nothing left."""
        if self.begun:
            self.between_tuners()
        self.begun.append([])
        scheduler.acknowledge_stop()
        while (order := scheduler.next(str(len(self.begun[-1])))) is not None:
            tune_id = str(len(self.begun[-1]))
            scheduler.started(tune_id)
            self.begun[-1].append(order.proposal.name)
            scheduler.reported(tune_id, self.work(order))
            scheduler.acknowledge_stop()

    def finish_pool(self, outcome: Outcome = Outcome.SUCCEEDED, reason: str = "") -> None:
        with factories.leased(self.database, f"pool-{self.pool_id}") as (session, lease):
            queue.advance(session, lease, PoolStatus.TRAINING, "started")
            pools.record_report(
                session, lease, factories.pool_report(self.pool_id, outcome, reason)
            )

    def ask(self, verb: Ask) -> None:
        """A user asks, and the driver sees it if it is to stop."""
        with self.database.write() as session:
            if verb(session, self.search_id).desired is not Desired.RUN:
                self.stopping.set()

    def extend(self, max_trials: int) -> None:
        with self.database.write() as session:
            ask_to_extend(session, self.search_id, {"max_trials": max_trials})

    def resume(self) -> None:
        """The user resumes it, and another driver starts."""
        spec = self.ledger.spec
        with self.database.write() as session:
            requests.ask_to_resume(session, self.search_id)
        with factories.leased(self.database, f"search-{self.search_id}") as (_, lease):
            self.ledger = Ledger(self.database, lease, self.settings)
        self.ledger.spec = spec
        self.stopping = threading.Event()

    def status(self) -> SearchStatus:
        with self.database.read() as session:
            return searches.get(session, self.search_id).status


@pytest.fixture
def stage(sqlite: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage(sqlite, settings)
    monkeypatch.setattr("searchd.driver.trial_loop.connect", lambda _: None)
    monkeypatch.setattr("searchd.driver.trial_loop.resolve", lambda _: None)
    monkeypatch.setattr("searchd.driver.trial_loop.run_tuner", made.run_tuner)
    monkeypatch.setattr("searchd.driver.trial_loop.measure_latencies", lambda *_: None)
    monkeypatch.setattr("searchd.driver.trial_loop.measure_on_splits", lambda *_: None)
    monkeypatch.setattr("searchd.driver.trial_loop._POOL_POLL_S", 0.0)
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

    def note(order: TrialTask) -> Report:
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
        "the base detector could not be trained; the last failure is trial base "
        "(out_of_memory): CUDA out of memory; with a batch size of 2",
    )


def test_cancelled_search_keeps_what_is_finished_and_runs_nothing_more(stage: Stage) -> None:
    stage.finish_pool()

    def cancel_during_trial_0(order: TrialTask) -> Report:
        if order.proposal.name == "0":
            with stage.database.write() as session:
                requests.ask_to_cancel(session, stage.search_id)
            stage.stopping.set()
        return factories.succeeded(order.proposal.name)

    stage.work = cancel_during_trial_0

    assert stage.run() == (SearchStatus.CANCELLED, "cancelled by a user")
    assert stage.begun == [["base", "0"]]
    assert [row.name for row in stage.ledger.scored()] == ["base", "0"]


def test_paused_search_resumes_where_it_was(stage: Stage) -> None:
    stage.finish_pool()

    def pause_during_trial_0(order: TrialTask) -> Report:
        if order.proposal.name != "0":
            return factories.succeeded(order.proposal.name)
        stage.ask(requests.ask_to_pause)
        return Report(
            trial="0", attempt=order.attempt, outcome=Outcome.STOPPED, reason="stop requested"
        )

    stage.work = pause_during_trial_0
    assert stage.run() == (SearchStatus.PAUSED, "paused by a user")
    assert stage.begun == [["base", "0"]]
    assert artifacts.exists(stage.ledger.stop_uri)

    orders: list[TrialTask] = []

    def note(order: TrialTask) -> Report:
        orders.append(order)
        assert not artifacts.exists(stage.ledger.stop_uri)
        return factories.succeeded(order.proposal.name, attempt=order.attempt)

    stage.work = note
    stage.between_tuners = lambda: None
    stage.resume()

    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 2 trials")
    assert [order.proposal.name for order in orders] == ["0", "1", "control-1"]
    assert (orders[0].attempt, len(orders[0].previous_attempts)) == (2, 1)


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (requests.ask_to_pause, SearchStatus.PAUSED),
        (requests.ask_to_cancel, SearchStatus.CANCELLED),
        (requests.ask_to_kill, SearchStatus.CANCELLED),
    ],
)
def test_search_that_is_stopped_before_its_driver_starts_trains_nothing(
    stage: Stage, verb: Ask, status: SearchStatus
) -> None:
    stage.ask(verb)

    assert stage.run()[0] is status
    assert stage.begun == []


def test_search_that_is_resumed_before_its_driver_has_stopped_is_queued_again(
    stage: Stage,
) -> None:
    stage.finish_pool()

    def change_mind(order: TrialTask) -> Report:
        stage.ask(requests.ask_to_pause)
        stage.ledger.stop()
        stage.ask(requests.ask_to_resume)
        return factories.succeeded(order.proposal.name)

    stage.work = change_mind

    assert stage.run() == (SearchStatus.QUEUED, "resumed by a user")


def test_report_that_was_written_before_a_kill_is_not_trained_again(stage: Stage) -> None:
    stage.finish_pool()

    def kill_after_the_report(order: TrialTask) -> Report:
        report = factories.succeeded(order.proposal.name)
        if order.proposal.name == "0":
            artifacts.write(f"{order.artifacts}/report.json", REPORT.dump_json(report), name="r")
            stage.ask(requests.ask_to_kill)
            return Report(trial="0", attempt=1, outcome=Outcome.STOPPED, reason="killed")
        return report

    stage.work = kill_after_the_report
    assert stage.run()[0] is SearchStatus.CANCELLED

    stage.between_tuners = lambda: None
    stage.work = lambda order: factories.succeeded(order.proposal.name, attempt=order.attempt)
    stage.ask(ask_to_extend)
    stage.resume()
    stage.run()

    assert stage.begun == [["base", "0"], ["1", "control-1"]]


def test_search_that_is_extended_while_it_runs_or_after_it_has_ended_continues(
    stage: Stage,
) -> None:
    stage.finish_pool()

    def extend_during_the_control(order: TrialTask) -> Report:
        if order.proposal.name == "control-1":
            stage.extend(3)
        return factories.succeeded(order.proposal.name)

    stage.work = extend_during_the_control
    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 3 trials")
    assert stage.begun == [["base", "0", "1", "control-1", "2"]]

    stage.extend(5)
    stage.between_tuners = lambda: None
    stage.resume()
    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 5 trials")
    assert stage.begun[1] == ["3", "4"]


def test_search_that_is_extended_at_the_very_end_does_not_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.finish_pool()
    stage.between_tuners = lambda: None

    def extend_now(*_: object) -> None:
        stage.extend(3)

    monkeypatch.setattr("searchd.driver.trial_loop.measure_latencies", extend_now)

    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 3 trials")
    assert stage.begun == [["base", "0", "1", "control-1"], ["2"]]


def test_search_that_is_paused_while_it_is_measured_on_the_test_split_is_measured_later(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def measure(ledger: Ledger, *_: object) -> None:
        measured.append(ledger.row().status)
        if len(measured) == 1:
            stage.ask(requests.ask_to_pause)

    monkeypatch.setattr("searchd.driver.trial_loop.measure_on_splits", measure)
    stage.finish_pool()

    assert stage.run() == (SearchStatus.PAUSED, "paused by a user")
    stage.between_tuners = lambda: None
    stage.resume()
    assert stage.run() == (SearchStatus.SUCCEEDED, "budget: 2 trials")
    assert measured == [SearchStatus.RUNNING, SearchStatus.RUNNING]
    assert stage.begun[-1] == []  # nothing is trained again


def test_search_that_is_cancelled_while_it_waits_for_its_pool_ends(stage: Stage) -> None:
    def cancel() -> None:
        with stage.database.write() as session:
            requests.ask_to_cancel(session, stage.search_id)
        stage.stopping.set()

    stage.between_tuners = cancel

    assert stage.run()[0] is SearchStatus.CANCELLED


def test_data_set_that_cannot_be_used_any_more_ends_the_search(stage: Stage) -> None:
    def work(task: TrialTask) -> Report:
        name = task.proposal.name
        if name != "1":
            return factories.succeeded(name)
        reason = "DataError: train.json: the annotation file changed"
        return Report(
            trial=name,
            attempt=1,
            outcome=Outcome.FAILED,
            cause=FailureCause.DATA_ERROR,
            reason=reason,
        )

    stage.work = work

    status, reason = stage.run()

    assert (status, stage.status()) == (SearchStatus.FAILED, SearchStatus.FAILED)
    assert reason.startswith("the data set cannot be used; trial 1: DataError: train.json")
    assert stage.begun[-1][-1] == "1"
