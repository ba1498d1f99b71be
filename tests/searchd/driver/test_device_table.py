"""What the driver makes of the measurement of a device; no Ray."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from searchd import artifacts
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import DeviceStatus, WorkStatus
from searchd.driver import device_table as driver_module
from searchd.driver import devices as placing
from searchd.driver.device_table import run_device
from searchd.messages.codecs import DEVICE_REPORT
from searchd.messages.devices import DeviceReport, DeviceTask
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.base import now
from searchd.store.models import DeviceRow
from searchd.store.resources import devices
from searchd.store.work import queue
from tests.searchd.store.device_factory import device_report, device_spec
from tests.searchd.store.factories import leased


@dataclass
class Cluster:
    """Runs the measurement that a test scripts, in this process."""

    measure: Callable[[DeviceTask], DeviceReport]
    offers: dict[str, float] = field(default_factory=lambda: {"node:__internal_head__": 1.0})
    tasks: list[DeviceTask] = field(default_factory=list)
    asked: dict[str, Any] = field(default_factory=dict)

    def run(self, task: DeviceTask) -> DeviceReport:
        self.tasks.append(task)
        return self.measure(task)

    def remote(self, **reserved: Any) -> Callable[[Any], Any]:
        """In the place of `ray.remote`."""
        self.asked = reserved
        return lambda function: SimpleNamespace(remote=function)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(measure=lambda _: device_report())
    monkeypatch.setattr(driver_module, "connect", lambda _: None)
    monkeypatch.setattr(driver_module, "resolve", lambda _: made.run)
    ray = SimpleNamespace(
        remote=made.remote, get=lambda found: found, cluster_resources=lambda: made.offers
    )
    monkeypatch.setattr(driver_module, "ray", ray)
    monkeypatch.setattr(placing, "ray", ray)
    return made


def registered(database: Database, **changes: Any) -> tuple[str, Lease]:
    with database.write() as session:
        device_id = devices.create(session, device_spec(**changes)).id
    return device_id, take_lease(database, device_id)


def take_lease(database: Database, device_id: str) -> Lease:
    with leased(database, f"device-{device_id}") as (_, lease):
        return lease


def found(database: Database) -> DeviceRow:
    with database.read() as session:
        return devices.get(session, "laptop")


def test_a_measured_device_is_ready(sqlite: Database, cluster: Cluster, tmp_path: Path) -> None:
    device_id, lease = registered(sqlite, threads=2)

    status = run_device(sqlite, lease, Settings(data_folder=tmp_path))

    assert (status, found(sqlite).report) == (DeviceStatus.READY, device_report())
    (task,) = cluster.tasks
    assert task.artifacts == f"{tmp_path}/artifacts/devices/{device_id}/attempt-1"
    assert task.spec.threads == 2
    on_head = {"node:__internal_head__": 0.001}
    assert cluster.asked == {"num_cpus": 2, "num_gpus": 0, "resources": on_head}


def test_a_device_with_a_resource_is_measured_where_it_is_offered(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    cluster.offers["jetson-1"] = 1.0
    _, lease = registered(sqlite, resource="jetson-1", runtime="torch", gpu=True)

    assert run_device(sqlite, lease, Settings(data_folder=tmp_path)) is DeviceStatus.READY

    assert cluster.asked == {"num_cpus": 1, "num_gpus": 1, "resources": {"jetson-1": 0.001}}


def test_a_resource_that_no_node_offers_fails_the_device_with_the_fix(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    device_id, lease = registered(sqlite, resource="jetson-1")

    assert run_device(sqlite, lease, Settings(data_folder=tmp_path)) is DeviceStatus.FAILED

    assert cluster.tasks == []
    reason = found(sqlite).status_reason
    assert reason.startswith("no node of the cluster offers the resource 'jetson-1'")
    assert "ray start --address=HEAD --resources='{\"jetson-1\": 1}'" in reason
    with sqlite.read() as session:
        assert queue.of_resource(session, device_id).status is WorkStatus.DONE


def test_what_no_attempt_would_change_fails_the_device(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    def measure(_: DeviceTask) -> DeviceReport:
        raise InvalidValueError("torch finds no GPU")

    cluster.measure = measure
    _, lease = registered(sqlite)

    assert run_device(sqlite, lease, Settings(data_folder=tmp_path)) is DeviceStatus.FAILED
    assert found(sqlite).status_reason == "torch finds no GPU"


def test_a_report_that_an_earlier_driver_left_is_recorded(
    sqlite: Database, cluster: Cluster, tmp_path: Path
) -> None:
    device_id, first = registered(sqlite)
    report = DEVICE_REPORT.dump_json(device_report())
    folder = f"{tmp_path}/artifacts/devices/{device_id}/attempt-1"
    artifacts.write(f"{folder}/report.json", report, name="report")
    with sqlite.write() as session:
        queue.requeue(session, first, "its driver died", delay_s=0, now=now())
    lease = take_lease(sqlite, device_id)

    assert run_device(sqlite, lease, Settings(data_folder=tmp_path)) is DeviceStatus.READY
    assert cluster.tasks == []
