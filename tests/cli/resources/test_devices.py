"""`searchd device`: add, list, show, delete."""

import json

import pytest

from api.client import Client
from searchd.domain.lifecycle import DeviceStatus
from searchd.store import Database
from searchd.store.work import queue
from tests.cli.conftest import Run
from tests.searchd.store.device_factory import add_device
from tests.searchd.store.factories import leased


def test_a_device_is_registered_with_its_options(searchd: Run) -> None:
    options = ("--runtime", "torch", "--threads", 2, "--batch", 4, "--resource", "jetson-1")
    table = ("--family", "fcos", "--base-channels", 8, "--resolution", "64x64")

    result = searchd("device", "add", "jetson-1", *options, *table, "--no-wait", "--format", "json")

    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["status"] == "measuring"
    spec = shown["spec"]
    assert (spec["runtime"], spec["threads"], spec["batch"]) == ("torch", 2, 4)
    assert spec["resource"] == "jetson-1"
    assert (spec["table"]["families"], spec["table"]["resolutions"]) == (["fcos"], ["64x64"])
    assert spec["table"]["backbones"] == ["resnet18", "resnet50"]


def test_a_mistake_is_told_before_anything_is_created(searchd: Run) -> None:
    result = searchd("device", "add", "laptop", "--gpu")
    assert result.exit_code == 2
    assert "onnxruntime uses the CPU only; use torch" in result.stderr
    assert "[]" in searchd("device", "list", "--format", "json").stdout


def test_predictions_are_shown_beside_measurements(searchd: Run, database: Database) -> None:
    add_device(database)

    shown = " ".join(searchd("device", "show", "laptop").stdout.split())
    listed = searchd("device", "list").stdout

    assert "predictions are 3.0 % off (median of 1, largest 3.0 %)" in shown
    assert (
        "faster_rcnn at 96x96: 10.30 ms predicted, 10.00 ms measured (95 % below 11.00 ms), +3.0 %"
        in shown
    )
    assert "Test CPU" in listed


def test_a_measurement_that_failed_is_an_error(
    searchd: Run, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(client: Client, device: str, **_: object) -> object:
        with leased(database, f"device-{device}") as (session, lease):
            queue.finish(session, lease, DeviceStatus.FAILED, "torch finds no GPU")
        return client.get_device(device)

    monkeypatch.setattr(Client, "wait_for_device", fail)

    result = searchd("device", "add", "laptop")

    assert result.exit_code == 1
    assert "device laptop is failed: torch finds no GPU" in result.stderr


def test_an_unused_device_is_deleted(searchd: Run, database: Database) -> None:
    add_device(database)
    assert searchd("device", "delete", "laptop").stdout == "deleted device laptop\n"
    assert "does not exist" in searchd("device", "show", "laptop").stderr
