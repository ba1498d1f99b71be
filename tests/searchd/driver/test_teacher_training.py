"""What a teacher's driver makes of its training's progress and report; no Ray."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import WorkerCrashedError

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause, TeacherStatus, WorkStatus
from searchd.domain.trial import Outcome
from searchd.driver import teacher_training as driver_module
from searchd.driver.teacher_training import WorkerLostError, run_teacher_training
from searchd.messages.codecs import TEACHER_TRAINING_REPORT
from searchd.messages.reports import TeacherProgress, TeacherTrainingReport
from searchd.messages.tasks import TeacherTrainingTask
from searchd.settings import Settings
from searchd.store import Database, Lease, events
from searchd.store.base import now
from searchd.store.models import TeacherRow
from searchd.store.resources import teachers
from searchd.store.work import queue, requests
from tests.searchd.store import factories

Show = Callable[[TeacherProgress], bool]


class Cluster:
    """Runs the training that a test scripts, in a thread instead of a worker of Ray."""

    def __init__(self, database: Database, folder: Path) -> None:
        factories.add_dataset(database)
        self.database, self.folder = database, folder
        with database.write() as session:
            self.teacher_id = teachers.create(session, factories.trained_teacher(cpus=2)).id
        self.stopping = threading.Event()
        self.tasks: list[TeacherTrainingTask] = []
        self.reserved: dict[str, float] = {}
        self.train: Callable[[TeacherTrainingTask, Show], TeacherTrainingReport] = report
        self.executor = ThreadPoolExecutor(1)
        self.cancelled = False
        self.lease = self.take_lease()

    def take_lease(self) -> Lease:
        work = f"teacher_training-{self.teacher_id}"
        with factories.leased(self.database, work) as (_, lease):
            return lease

    def run(self) -> TeacherStatus:
        settings = Settings(data_folder=self.folder)
        return run_teacher_training(self.database, self.lease, settings, self.stopping)

    def row(self) -> TeacherRow:
        with self.database.read() as session:
            return teachers.get(session, self.teacher_id)

    def messages(self) -> list[str]:
        with self.database.read() as session:
            return [event.message for event in events.after(session, self.teacher_id)]

    def scripted(self, task: TeacherTrainingTask, show: Show) -> TeacherTrainingReport:
        self.tasks.append(task)
        return self.train(task, show)

    def remote(self, **reserved: float) -> Callable[[Any], Any]:
        """In the place of `ray.remote`."""
        self.reserved = reserved
        return lambda function: SimpleNamespace(
            remote=lambda *given: self.executor.submit(function, *given)
        )

    def cancel(self, running: Future[Any], *, force: bool) -> None:
        """In the place of `ray.cancel`."""
        assert not running.done()
        self.cancelled = force


@pytest.fixture
def cluster(sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    made = Cluster(sqlite, tmp_path)
    ray = SimpleNamespace(
        remote=made.remote,
        wait=lambda waited, timeout: wait(waited, timeout),
        get=lambda running: running.result(),
        cancel=made.cancel,
    )
    monkeypatch.setattr(driver_module, "ray", ray)
    monkeypatch.setattr(driver_module, "POLL_S", 0.01)
    monkeypatch.setattr(driver_module, "connect", lambda _: None)
    monkeypatch.setattr(driver_module, "resolve", lambda _: made.scripted)
    yield made
    made.executor.shutdown()


def report(
    task: TeacherTrainingTask, _show: Show, outcome: Outcome = Outcome.SUCCEEDED, **values: Any
) -> TeacherTrainingReport:
    result = factories.teacher_report() if outcome is Outcome.SUCCEEDED else None
    return TeacherTrainingReport(
        teacher=task.teacher, attempt=task.attempt, outcome=outcome, result=result, **values
    )


def until_stopped(task: TeacherTrainingTask, show: Show) -> TeacherTrainingReport:
    while show(factories.teacher_progress()):
        pass
    return report(task, show, Outcome.STOPPED, reason="stop requested")


def test_a_trained_teacher_is_ready(cluster: Cluster, tmp_path: Path) -> None:
    assert cluster.run() is TeacherStatus.READY

    (task,) = cluster.tasks
    assert (task.teacher, task.attempt, task.previous_attempts) == (cluster.teacher_id, 1, ())
    assert task.artifacts == f"{tmp_path}/artifacts/teachers/{cluster.teacher_id}/attempt-1"
    assert (task.num_threads, task.device) == (2, "cpu")
    assert cluster.reserved == {"num_cpus": 2, "num_gpus": 0, "max_retries": 0}
    row = cluster.row()
    assert row.report == factories.teacher_report()
    assert row.started_at is not None
    assert row.status_reason == "evaluated: AP 0.500 at 96x96"


def test_notes_and_epochs_become_events_while_it_trains(cluster: Cluster) -> None:
    seen = threading.Event()

    def train(task: TeacherTrainingTask, show: Show) -> TeacherTrainingReport:
        assert show(factories.teacher_progress())
        assert seen.wait(10)
        return report(task, show)

    def look() -> None:
        while cluster.row().progress is None:
            pass
        assert cluster.row().status is TeacherStatus.TRAINING
        seen.set()

    cluster.train = train
    watching = threading.Thread(target=look)
    watching.start()
    cluster.run()
    watching.join()

    assert cluster.row().progress == factories.teacher_progress()
    told = ["its driver has started", "loaded 9 of 11 weights", "epoch 1 of 3: loss 0.5"]
    assert cluster.messages()[-4:-1] == told


def test_a_paused_training_stops_and_another_attempt_may_resume(cluster: Cluster) -> None:
    with cluster.database.write() as session:
        queue.advance(session, cluster.lease, TeacherStatus.TRAINING, "its driver has started")
    cluster.train = until_stopped
    with cluster.database.write() as session:
        requests.ask_to_pause(session, cluster.teacher_id)
    threading.Timer(0.2, cluster.stopping.set).start()

    assert cluster.run() is TeacherStatus.PAUSED

    with cluster.database.write() as session:
        requests.ask_to_resume(session, cluster.teacher_id)
        assert teachers.get(session, cluster.teacher_id).status is TeacherStatus.QUEUED
    cluster.lease, cluster.train = cluster.take_lease(), report
    cluster.stopping.clear()
    assert cluster.run() is TeacherStatus.READY
    assert cluster.tasks[1].previous_attempts == (cluster.tasks[0].artifacts,)


def test_a_cancelled_training_that_waits_for_the_cluster_ends_at_once(cluster: Cluster) -> None:
    begin = threading.Event()

    def train(task: TeacherTrainingTask, show: Show) -> TeacherTrainingReport:
        begin.wait(10)
        return report(task, show)

    cluster.train = train
    with cluster.database.write() as session:
        requests.ask_to_cancel(session, cluster.teacher_id)
    threading.Timer(0.2, cluster.stopping.set).start()

    assert cluster.run() is TeacherStatus.CANCELLED

    begin.set()
    assert cluster.cancelled
    assert cluster.row().report is None


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (FailureCause.NON_FINITE_LOSS, "non_finite_loss: loss is nan"),
        (None, "loss is nan"),
    ],
)
def test_a_failed_training_fails_the_teacher(
    cluster: Cluster, cause: FailureCause | None, reason: str
) -> None:
    cluster.train = lambda task, show: report(
        task, show, Outcome.FAILED, cause=cause, reason="loss is nan"
    )

    assert cluster.run() is TeacherStatus.FAILED
    assert cluster.row().status_reason == reason


@pytest.mark.parametrize("ending", ["a lost worker", "a report of refused writes"])
def test_a_lost_worker_leaves_the_teacher_to_another_attempt(cluster: Cluster, ending: str) -> None:
    def train(task: TeacherTrainingTask, show: Show) -> TeacherTrainingReport:
        if ending == "a lost worker":
            raise WorkerCrashedError
        refused = FailureCause.STORE_REFUSED
        return report(task, show, Outcome.FAILED, cause=refused, reason="disk full")

    cluster.train = train
    with pytest.raises(WorkerLostError):
        cluster.run()

    assert cluster.row().status is TeacherStatus.TRAINING


def test_the_report_of_an_earlier_attempt_is_recorded_without_training(
    cluster: Cluster, tmp_path: Path
) -> None:
    uri = f"{tmp_path}/artifacts/teachers/{cluster.teacher_id}/attempt-1/report.json"
    written = TeacherTrainingReport(
        teacher=cluster.teacher_id,
        attempt=1,
        outcome=Outcome.SUCCEEDED,
        result=factories.teacher_report(),
    )
    artifacts.write(uri, TEACHER_TRAINING_REPORT.dump_json(written), name="report")
    with cluster.database.write() as session:
        queue.advance(session, cluster.lease, TeacherStatus.TRAINING, "its driver has started")
        queue.requeue(session, cluster.lease, "its driver died", delay_s=0, now=now())
    cluster.lease = cluster.take_lease()

    assert cluster.run() is TeacherStatus.READY
    assert cluster.tasks == []
    with cluster.database.read() as session:
        work = queue.get(session, f"teacher_training-{cluster.teacher_id}")
        assert work.status is WorkStatus.DONE
