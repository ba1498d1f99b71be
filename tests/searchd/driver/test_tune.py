"""Which trials Ray Tune gets, and what becomes of their results; Tune itself is not used here."""

from dataclasses import replace
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from searchd import artifacts
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.domain.trial import Outcome
from searchd.driver.ledger import Ledger
from searchd.driver.tune import PASS_ON_INTERVAL_S, TrialScheduler, _Callback, _Searcher, _Stopper
from searchd.messages.codecs import PROGRESS, REPORT
from searchd.messages.reports import Report
from searchd.settings import Settings
from searchd.spec import BudgetSpec, ResourcesSpec
from searchd.store import Database
from searchd.store.models import TrialRow
from searchd.store.resources import searches
from searchd.store.runs import trials
from searchd.store.work import queue, requests
from tests.searchd.store import factories


class Session:
    """A search under a scheduler, whose requests and clock the test controls."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.is_stopping = False
        self.pool_is_ready = True
        self.now = 0.0
        factories.add_dataset(database)
        factories.add_pool(database)
        resources = ResourcesSpec(trials_in_flight=2)
        spec = factories.search_spec(
            "first",
            budget=BudgetSpec(max_trials=3, finish=None),
            resources=resources,
            control=False,
        )
        with database.write() as session:
            row = searches.create(session, spec)
        with factories.leased(database, f"search-{row.id}") as (session, lease):
            queue.advance(session, lease, SearchStatus.PREPARING, "driver started")
        settings = Settings(data_folder=folder, max_attempts=2)
        self.ledger = Ledger(database, lease, settings)
        self.scheduler = self.take_over()

    def take_over(self) -> TrialScheduler:
        """What a new driver begins with."""
        again = self.ledger.recover()
        self.scheduler = TrialScheduler(
            self.ledger,
            again=again,
            is_stopping=lambda: self.is_stopping,
            may_search=lambda: self.pool_is_ready,
            clock=lambda: self.now,
        )
        return self.scheduler

    def start(self, tune_id: str) -> str:
        """Tune asks for a trial and a worker takes it; its name."""
        task = self.scheduler.next(tune_id)
        assert task is not None
        self.scheduler.started(tune_id)
        return task.proposal.name

    def run(self, tune_id: str) -> str:
        """A trial from beginning to success; its name."""
        name = self.start(tune_id)
        self.scheduler.reported(tune_id, factories.succeeded(name))
        return name

    def trial(self, name: str) -> TrialRow:
        with self.database.read() as session:
            return trials.get(session, f"{self.ledger.run_id}-{name}")


@pytest.fixture
def session(sqlite: Database, tmp_path: Path) -> Session:
    return Session(sqlite, tmp_path)


def test_proposal_is_written_down_before_it_is_suggested_and_runs_only_once_started(
    session: Session,
) -> None:
    task = session.scheduler.next("t0")

    assert task is not None
    assert session.trial("base").status is TrialStatus.PENDING
    session.scheduler.started("t0")
    assert session.trial("base").status is TrialStatus.RUNNING


def test_search_runs_base_first_and_then_as_many_trials_as_the_budget_allows(
    session: Session,
) -> None:
    assert [session.run(f"t{i}") for i in range(4)] == ["base", "0", "1", "2"]

    assert session.scheduler.next("t4") is None
    assert session.scheduler.finished is not None
    assert session.scheduler.finished.reason == "budget: 3 trials"
    assert session.scheduler.is_idle


def test_nothing_is_suggested_while_the_base_is_trained(session: Session) -> None:
    session.start("t0")

    assert session.scheduler.next("t1") is None
    assert session.scheduler.finished is None
    assert not session.scheduler.is_idle


def test_nothing_is_suggested_after_the_base_until_the_pool_is_ready(session: Session) -> None:
    session.pool_is_ready = False
    session.run("t0")

    assert session.scheduler.next("t1") is None
    assert session.scheduler.is_idle
    assert session.scheduler.finished is None
    session.pool_is_ready = True
    assert session.run("t1") == "0"


def test_lost_worker_means_another_attempt_before_anything_new(session: Session) -> None:
    session.run("t0")
    session.start("t1")

    session.scheduler.lost("t1")

    task = session.scheduler.next("t2")
    assert task is not None
    assert (task.proposal.name, task.attempt) == ("0", 2)


def test_trial_fails_when_its_worker_is_lost_too_often_and_the_search_continues(
    session: Session,
) -> None:
    session.run("t0")
    for tune_id in ("t1", "t2"):
        session.start(tune_id)
        session.scheduler.lost(tune_id)

    assert session.trial("0").status is TrialStatus.FAILED
    assert session.run("t3") == "1"


def test_failure_is_taken_in_and_not_tried_again(session: Session) -> None:
    session.run("t0")
    session.start("t1")

    session.scheduler.reported(
        "t1", Report(trial="0", attempt=1, outcome=Outcome.FAILED, reason="bug")
    )

    assert session.run("t2") == "1"


def test_new_driver_resumes_where_the_killed_one_was(session: Session) -> None:
    session.run("t0")
    session.start("t1")
    lost = session.start("t2")
    written = session.trial("0")
    folder = f"{session.ledger.stop_uri.rpartition('/')[0]}/0/attempt-1"
    report = factories.succeeded("0")
    artifacts.write(f"{folder}/report.json", REPORT.dump_json(report), name="report")
    assert written.status is TrialStatus.RUNNING

    session.take_over()

    assert session.trial("0").status is TrialStatus.SUCCEEDED
    task = session.scheduler.next("n0")
    assert task is not None
    assert (task.proposal.name, task.attempt) == (lost, 2)
    session.scheduler.started("n0")
    assert session.run("n1") == "2"


def test_progress_is_written_down_at_most_once_a_second(session: Session) -> None:
    session.start("t0")
    for at, iteration in ((0.0, 1), (0.9, 2), (1.0, 3), (1.5, 4)):
        session.now = at
        session.scheduler.progressed("t0", factories.progress("base", iteration=iteration))

    progress = session.trial("base").progress
    assert progress is not None
    assert progress.iteration == 3


def test_workers_are_asked_to_stop_again_and_again_while_the_store_takes_no_writes(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, False, True])
    reported: list[bool] = []

    def stop() -> bool:
        reported.append(next(answers))
        return reported[-1]

    monkeypatch.setattr(session.ledger, "stop", stop)
    session.start("t0")
    session.is_stopping = True

    for _ in range(4):
        session.scheduler.acknowledge_stop()
        session.scheduler.acknowledge_stop()
        session.now += PASS_ON_INTERVAL_S

    assert reported == [False, False, True]


def test_cancelled_search_suggests_nothing_and_asks_its_workers_to_stop(
    session: Session,
) -> None:
    session.run("t0")
    session.start("t1")
    with session.database.write() as database:
        requests.ask_to_cancel(database, session.ledger.run_id)
    session.is_stopping = True

    session.scheduler.acknowledge_stop()

    assert artifacts.exists(session.ledger.stop_uri)
    assert session.ledger.row().status is SearchStatus.CANCELLING
    assert session.scheduler.next("t2") is None
    assert not session.scheduler.may_end
    stopped = Report(trial="0", attempt=1, outcome=Outcome.STOPPED, reason="stop requested")
    session.scheduler.reported("t1", stopped)
    assert session.trial("0").status is TrialStatus.CANCELLED
    assert session.scheduler.may_end


def test_cancelled_search_does_not_wait_for_trials_that_no_worker_has(session: Session) -> None:
    session.scheduler.next("t0")
    assert not session.scheduler.may_end

    session.is_stopping = True

    assert session.scheduler.may_end
    assert _Stopper(session.scheduler).stop_all()


def test_searcher_says_finished_only_when_nothing_is_in_flight(session: Session) -> None:
    searcher = _Searcher(session.scheduler, {"cpus": 1})
    config = searcher.suggest("t0")
    assert (config["name"], config["cpus"]) == (f"{session.ledger.run_id}-base-attempt-1", 1)
    session.scheduler.started("t0")

    assert searcher.suggest("t1") is None
    session.pool_is_ready = False
    report = REPORT.dump_json(factories.succeeded("base")).decode()
    searcher.on_trial_complete("t0", {"final": True, "report": report})

    assert searcher.suggest("t2") == Searcher.FINISHED


@pytest.mark.parametrize(
    ("result", "error"),
    [(None, True), ({"final": False, "progress": "{}"}, False), (None, False)],
)
def test_only_a_result_marked_final_completes_a_trial(
    session: Session, result: dict[str, object] | None, error: bool
) -> None:
    searcher = _Searcher(session.scheduler, {})
    searcher.suggest("t0")
    session.scheduler.started("t0")

    searcher.on_trial_complete("t0", result, error)

    assert session.trial("base").status is TrialStatus.PENDING


def test_final_result_is_no_progress(session: Session) -> None:
    session.start("t0")
    progress = PROGRESS.dump_json(factories.progress("base", iteration=5)).decode()
    callback = _Callback(session.scheduler)
    trial = type("Trial", (), {"trial_id": "t0"})()

    callback.on_trial_result(0, [], trial, {"final": True, "report": "{}"})
    assert session.trial("base").progress is None
    callback.on_trial_result(0, [], trial, {"final": False, "progress": progress})
    assert session.trial("base").progress == factories.progress("base", iteration=5)


def test_scores_decide_whose_student_a_trial_inherits(session: Session) -> None:
    session.run("t0")
    session.start("t1")
    session.scheduler.reported("t1", replace(factories.succeeded("0"), base_macs=4e9))

    task = session.scheduler.next("t2")

    assert task is not None
    assert task.proposal.parent == "0"
    assert task.inherited is not None
