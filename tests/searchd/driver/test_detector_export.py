"""What the driver makes of the report on an export; no Ray."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from searchd import artifacts
from searchd.domain.errors import DataError, InvalidValueError, ParityError, StaleLeaseError
from searchd.domain.export_formats import ExportFormat, Precision
from searchd.domain.lifecycle import ExportStatus, WorkStatus
from searchd.domain.resolution import Resolution
from searchd.driver import detector_export as driver_module
from searchd.driver.detector_export import run_export
from searchd.messages.codecs import EXPORT_REPORT
from searchd.messages.exports import ExportReport, ExportTask
from searchd.settings import Settings
from searchd.spec import ExportSpec
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.models import ExportRow
from searchd.store.resources import exports
from searchd.store.work import queue
from tests.searchd.store import factories


@dataclass
class Cluster:
    """Runs the export that a test scripts, in this process."""

    export: Callable[[ExportTask], ExportReport]
    orders: list[ExportTask] = field(default_factory=list)
    asked: dict[str, float] = field(default_factory=dict)

    def run(self, order: ExportTask) -> ExportReport:
        self.orders.append(order)
        return self.export(order)

    def remote(self, **resources: float) -> Callable[[Any], Any]:
        """In the place of `ray.remote`."""
        self.asked = resources
        return lambda function: SimpleNamespace(remote=function)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(export=lambda _: factories.export_report())
    monkeypatch.setattr(driver_module, "connect", lambda _: None)
    monkeypatch.setattr(driver_module, "resolve", lambda _: made.run)
    ray = SimpleNamespace(remote=made.remote, get=lambda found: found)
    monkeypatch.setattr(driver_module, "ray", ray)
    return made


@pytest.fixture
def trial(sqlite: Database) -> str:
    """The id of a finished trial."""
    _, lease = factories.start_search(sqlite)
    return factories.run_trial(sqlite, lease, factories.base_proposal()).id


def requested(database: Database, trial: str, spec: ExportSpec | None = None) -> tuple[str, Lease]:
    with database.write() as session:
        export_id = exports.create(session, trial, spec or ExportSpec()).id
    return export_id, take_lease(database, export_id)


def take_lease(database: Database, export_id: str) -> Lease:
    with factories.leased(database, f"export-{export_id}") as (_, lease):
        return lease


def found(database: Database, trial: str, export_id: str) -> ExportRow:
    with database.read() as session:
        return exports.get(session, trial, export_id)


def test_an_equal_export_is_ready(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    export_id, lease = requested(sqlite, trial, ExportSpec(cpus=2))

    status = run_export(sqlite, lease, Settings(data_folder=tmp_path))

    row = found(sqlite, trial, export_id)
    assert (status, row.report) == (ExportStatus.READY, factories.export_report())
    assert row.status_reason == ("equal to the detector on 32 images; AP 0.500, 12.0 ms at 96x96")
    (order,) = cluster.orders
    assert order.artifacts == f"{tmp_path}/artifacts/exports/{export_id}/attempt-1"
    assert (order.student, order.detector) == (factories.artifact("student"), factories.detector())
    assert (order.resolution, order.num_threads) == (factories.LARGE, 2)
    assert order.facts["detector"] == trial
    assert order.facts["search"] == "first"
    assert order.facts["classes"] == ["a", "b", "c", "d"]
    assert order.facts["lineage"] == ["search first, trial base: train: AP 0.500 at 96x96"]
    assert cluster.asked == {"num_cpus": 2, "num_gpus": 0}


def test_the_reason_of_an_export_in_fewer_bits_says_what_it_lost(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    made = factories.export_report()
    measured = replace(made.measurement, ap=0.495, kept=("heads", "stem"))
    cluster.export = lambda _: replace(made, measurement=measured)
    export_id, lease = requested(sqlite, trial, ExportSpec(precision=Precision.INT8))

    run_export(sqlite, lease, Settings(data_folder=tmp_path))

    assert found(sqlite, trial, export_id).status_reason == (
        "compared with the detector on 32 images; AP 0.495 (0.500 in torch), heads and stem in "
        "32 bits, 12.0 ms at 96x96"
    )


def test_an_engine_is_built_on_a_gpu(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    spec = ExportSpec(format=ExportFormat.TENSORRT, input=Resolution(640, 480))
    _, lease = requested(sqlite, trial, spec)

    run_export(sqlite, lease, Settings(data_folder=tmp_path))

    assert cluster.asked == {"num_cpus": 1, "num_gpus": 1}


@pytest.mark.parametrize("error", [ParityError, DataError, InvalidValueError])
def test_what_no_attempt_would_change_fails_the_export_with_the_reason(
    error: type[Exception], sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    def export(_: ExportTask) -> ExportReport:
        raise error("a.png: only the export finds class 0")

    export_id, lease = requested(sqlite, trial)
    cluster.export = export

    assert run_export(sqlite, lease, Settings(data_folder=tmp_path)) is ExportStatus.FAILED

    row = found(sqlite, trial, export_id)
    assert (row.status_reason, row.report) == ("a.png: only the export finds class 0", None)
    with sqlite.read() as session:
        assert queue.of_resource(session, export_id).status is WorkStatus.DONE


def test_any_other_error_is_left_to_another_attempt(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    def export(_: ExportTask) -> ExportReport:
        raise MemoryError

    export_id, lease = requested(sqlite, trial)
    cluster.export = export

    with pytest.raises(MemoryError):
        run_export(sqlite, lease, Settings(data_folder=tmp_path))

    assert found(sqlite, trial, export_id).status is ExportStatus.EXPORTING


def test_report_that_an_earlier_driver_could_not_record_is_adopted(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    export_id, lease = requested(sqlite, trial)
    uri = f"{tmp_path}/artifacts/exports/{export_id}/attempt-1/report.json"
    artifacts.write(uri, EXPORT_REPORT.dump_json(factories.export_report()), name="report")
    with sqlite.write() as session:
        queue.requeue(session, lease, "its driver died", delay_s=0, now=now())

    status = run_export(sqlite, take_lease(sqlite, export_id), Settings(data_folder=tmp_path))

    assert (status, cluster.orders) == (ExportStatus.READY, [])
    assert found(sqlite, trial, export_id).report == factories.export_report()


def test_report_of_a_driver_that_lost_its_lease_is_not_recorded(
    sqlite: Database, cluster: Cluster, trial: str, tmp_path: Path
) -> None:
    export_id, lease = requested(sqlite, trial)
    with sqlite.write() as session:
        queue.requeue(session, lease, "no sign of life", delay_s=0, now=now())

    with pytest.raises(StaleLeaseError):
        run_export(sqlite, lease, Settings(data_folder=tmp_path))

    assert len(cluster.orders) == 1
    assert found(sqlite, trial, export_id).report is None
