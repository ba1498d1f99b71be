"""What a pool's driver makes of its training's report; no Ray."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause, PoolStatus, WorkStatus
from searchd.domain.trial import Outcome
from searchd.driver.pool_training import WorkersLostError, run_pool
from searchd.messages.codecs import POOL_REPORT
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.models import PoolRow
from searchd.store.resources import pools
from searchd.store.work import queue, requests
from tests.searchd.store import factories

Train = Callable[[PoolTrainingTask, Callable[[PoolProgress], bool]], PoolReport]


class Driver:
    """A driver whose training a test scripts."""

    def __init__(self, database: Database, folder: Path) -> None:
        factories.add_dataset(database)
        self.database = database
        self.pool_id = factories.add_pool(database, ready=False)
        self.settings = Settings(data_folder=folder)
        self.stopping = threading.Event()
        self.orders: list[PoolTrainingTask] = []
        self.train: Train = lambda order, _: factories.pool_report(order.pool)
        self.lease = self.take_lease()

    def take_lease(self) -> Lease:
        with factories.leased(self.database, f"pool-{self.pool_id}") as (_, lease):
            return lease

    def run(self) -> PoolStatus:
        return run_pool(self.database, self.lease, self.settings, self.stopping)

    def pool(self) -> PoolRow:
        with self.database.read() as session:
            return pools.get(session, self.pool_id)


@pytest.fixture
def driver(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver(sqlite, tmp_path)

    def train(order: PoolTrainingTask, progress: Callable[[PoolProgress], bool]) -> PoolReport:
        made.orders.append(order)
        return made.train(order, progress)

    monkeypatch.setattr("searchd.driver.pool_training.connect", lambda _: None)
    monkeypatch.setattr("searchd.driver.pool_training.resolve", lambda _: train)
    return made


def progress(pool: str) -> PoolProgress:
    return PoolProgress(
        pool=pool,
        attempt=1,
        phase="supernet",
        epoch=1,
        num_epochs=2,
        iteration=3,
        num_iterations=4,
        losses={"loss": 0.5},
    )


def test_trained_pool_is_ready(driver: Driver, tmp_path: Path) -> None:
    assert driver.run() is PoolStatus.READY

    (order,) = driver.orders
    assert (order.pool, order.attempt, order.previous_attempts) == (driver.pool_id, 1, ())
    assert order.artifacts == f"{tmp_path}/artifacts/pools/{driver.pool_id}/attempt-1"
    assert order.spec == driver.pool().spec


def test_progress_is_written_down_while_the_pool_trains(driver: Driver) -> None:
    seen = []

    def train(order: PoolTrainingTask, show: Callable[[PoolProgress], bool]) -> PoolReport:
        assert show(progress(order.pool))
        seen.append((driver.pool().status, driver.pool().progress))
        return factories.pool_report(order.pool)

    driver.train = train
    driver.run()

    assert seen == [(PoolStatus.TRAINING, progress(driver.pool_id))]


def test_report_that_an_earlier_driver_could_not_record_is_adopted_without_training(
    driver: Driver, tmp_path: Path
) -> None:
    uri = f"{tmp_path}/artifacts/pools/{driver.pool_id}/attempt-1/report.json"
    report = POOL_REPORT.dump_json(factories.pool_report(driver.pool_id))
    artifacts.write(uri, report, name="report")
    with driver.database.write() as session:
        queue.advance(session, driver.lease, PoolStatus.TRAINING, "its driver has started")
        queue.requeue(session, driver.lease, "its driver died", delay_s=0, now=now())
    driver.lease = driver.take_lease()

    assert driver.run() is PoolStatus.READY
    assert driver.orders == []


def test_lost_workers_leave_the_pool_to_another_attempt(driver: Driver) -> None:
    lost = replace(
        factories.pool_report(driver.pool_id, Outcome.FAILED, "node died"),
        cause=FailureCause.WORKER_LOST,
    )
    driver.train = lambda *_: lost

    with pytest.raises(WorkersLostError, match="worker_lost: node died"):
        driver.run()

    assert driver.pool().status is PoolStatus.TRAINING


def test_failed_training_fails_the_pool(driver: Driver) -> None:
    driver.train = lambda order, _: replace(
        factories.pool_report(order.pool, Outcome.FAILED, "loss is nan"),
        cause=FailureCause.NON_FINITE_LOSS,
    )

    assert driver.run() is PoolStatus.FAILED
    assert driver.pool().status_reason == "non_finite_loss: loss is nan"


def test_cancelled_training_is_asked_to_stop_and_ends_cancelled(driver: Driver) -> None:
    with driver.database.write() as session:
        requests.ask_to_cancel(session, driver.pool_id)
    driver.stopping.set()

    def train(order: PoolTrainingTask, show: Callable[[PoolProgress], bool]) -> PoolReport:
        assert not show(progress(order.pool))
        return factories.pool_report(order.pool, Outcome.STOPPED, "stop requested")

    driver.train = train

    assert driver.run() is PoolStatus.CANCELLED
    with driver.database.read() as session:
        assert queue.get(session, f"pool-{driver.pool_id}").status is WorkStatus.DONE
