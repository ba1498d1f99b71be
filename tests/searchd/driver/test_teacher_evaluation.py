"""What a teacher's driver makes of its evaluation's report; no Ray."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from searchd import artifacts
from searchd.domain.errors import CheckpointError, DataError, InvalidValueError, StaleLeaseError
from searchd.domain.lifecycle import TeacherStatus, WorkStatus
from searchd.driver import teacher_evaluation as driver_module
from searchd.driver.teacher_evaluation import run_teacher
from searchd.messages.codecs import TEACHER_REPORT
from searchd.messages.reports import TeacherReport
from searchd.messages.tasks import TeacherEvaluationTask
from searchd.settings import Settings
from searchd.spec import TeacherSpec
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.models import TeacherRow
from searchd.store.resources import teachers
from searchd.store.work import queue
from tests.searchd.store import factories


@dataclass
class Cluster:
    """Runs the evaluation that a test scripts, in this process."""

    evaluate: Callable[[TeacherEvaluationTask], TeacherReport]
    orders: list[TeacherEvaluationTask] = field(default_factory=list)
    asked: dict[str, float] = field(default_factory=dict)

    def evaluation(self, order: TeacherEvaluationTask) -> TeacherReport:
        self.orders.append(order)
        return self.evaluate(order)

    def remote(self, **resources: float) -> Callable[[Any], Any]:
        """In the place of `ray.remote`."""
        self.asked = resources
        return lambda function: SimpleNamespace(remote=function)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(evaluate=lambda _: factories.teacher_report())
    monkeypatch.setattr(driver_module, "connect", lambda _: None)
    monkeypatch.setattr(driver_module, "resolve", lambda _: made.evaluation)
    ray = SimpleNamespace(remote=made.remote, get=lambda found: found)
    monkeypatch.setattr(driver_module, "ray", ray)
    return made


def registered(database: Database, spec: TeacherSpec) -> tuple[str, Lease]:
    with database.write() as session:
        teacher_id = teachers.create(session, spec).id
    return teacher_id, take_lease(database, teacher_id)


def take_lease(database: Database, teacher_id: str) -> Lease:
    with factories.leased(database, f"teacher-{teacher_id}") as (_, lease):
        return lease


def found(database: Database, teacher_id: str) -> TeacherRow:
    with database.read() as session:
        return teachers.get(session, teacher_id)


def test_evaluated_teacher_is_ready(sqlite: Database, cluster: Cluster, tmp_path: Path) -> None:
    factories.add_dataset(sqlite)
    teacher_id, lease = registered(sqlite, factories.teacher_spec(cpus=3, gpus=1))

    status = run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    assert status is TeacherStatus.READY
    assert found(sqlite, teacher_id).report == factories.teacher_report()
    (order,) = cluster.orders
    assert order.artifacts == f"{tmp_path}/artifacts/teachers/{teacher_id}/attempt-1"
    assert (order.num_threads, order.device, order.pool, order.student) == (3, "cuda", None, None)
    assert order.dataset == factories.dataset_spec()
    assert cluster.asked == {"num_cpus": 3, "num_gpus": 1}


def test_subnet_is_ordered_with_its_pool(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    factories.add_dataset(sqlite)
    factories.add_pool(sqlite)
    _, lease = registered(sqlite, factories.subnet_teacher())

    run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    (order,) = cluster.orders
    assert order.pool is not None
    assert order.pool.supernet.name == "supernet"
    assert order.pool.space == factories.pool_spec().space
    assert order.device == "cpu"


def test_trial_is_ordered_with_its_student(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    _, search_lease = factories.start_search(sqlite)
    trial = factories.run_trial(sqlite, search_lease, factories.base_proposal())
    _, lease = registered(sqlite, factories.teacher_spec(trial=trial.id, mmdet=None))

    run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    (order,) = cluster.orders
    assert order.student is not None
    assert order.student.student == factories.artifact("student")
    assert order.student.detector == factories.detector()


def test_report_that_an_earlier_driver_could_not_record_is_adopted(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    factories.add_dataset(sqlite)
    teacher_id, lease = registered(sqlite, factories.teacher_spec())
    uri = f"{tmp_path}/artifacts/teachers/{teacher_id}/attempt-1/report.json"
    artifacts.write(uri, TEACHER_REPORT.dump_json(factories.teacher_report()), name="report")
    with sqlite.write() as session:
        queue.requeue(session, lease, "its driver died", delay_s=0, now=now())

    status = run_teacher(sqlite, take_lease(sqlite, teacher_id), Settings(data_folder=tmp_path))

    assert (status, cluster.orders) == (TeacherStatus.READY, [])
    assert found(sqlite, teacher_id).report == factories.teacher_report()


@pytest.mark.parametrize("error", [CheckpointError, DataError, InvalidValueError])
def test_what_no_attempt_would_change_fails_the_teacher_with_the_reason(
    error: type[Exception], sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    def evaluate(_: TeacherEvaluationTask) -> TeacherReport:
        raise error("swin.pt does not fit")

    factories.add_dataset(sqlite)
    teacher_id, lease = registered(sqlite, factories.teacher_spec())
    cluster.evaluate = evaluate

    status = run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    assert status is TeacherStatus.FAILED
    assert found(sqlite, teacher_id).status_reason == f"{error.__name__}: swin.pt does not fit"
    with sqlite.read() as session:
        assert queue.of_resource(session, teacher_id).status is WorkStatus.DONE


def test_any_other_error_is_left_to_another_attempt(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    def evaluate(_: TeacherEvaluationTask) -> TeacherReport:
        raise MemoryError

    factories.add_dataset(sqlite)
    teacher_id, lease = registered(sqlite, factories.teacher_spec())
    cluster.evaluate = evaluate

    with pytest.raises(MemoryError):
        run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    assert found(sqlite, teacher_id).status is TeacherStatus.CHECKING


def test_report_of_a_driver_that_lost_its_lease_is_not_recorded(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    factories.add_dataset(sqlite)
    teacher_id, lease = registered(sqlite, factories.teacher_spec())
    with sqlite.write() as session:
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=now())

    with pytest.raises(StaleLeaseError):
        run_teacher(sqlite, lease, Settings(data_folder=tmp_path))

    assert len(cluster.orders) == 1
    assert found(sqlite, teacher_id).report is None
