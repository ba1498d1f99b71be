"""`searchd detector`: export a detector, wait, download; list its exports."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.client import Client
from cli.resources import export_files
from searchd import artifacts
from searchd.domain.lifecycle import ExportStatus
from searchd.spec import ExportSpec
from searchd.store import Database
from searchd.store.resources import exports
from searchd.store.work import queue
from tests.api.service import Service
from tests.cli.conftest import Run
from tests.searchd.store.factories import (
    base_proposal,
    export_report,
    leased,
    run_trial,
    start_search,
    succeeded,
    with_breakdown,
)


@pytest.fixture
def trial(database: Database) -> str:
    """The id of a finished trial."""
    _, lease = start_search(database)
    return run_trial(database, lease, base_proposal()).id


def while_waiting(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen while a command waits."""
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: happens())
    monkeypatch.setattr(export_files, "time", clock)


def finish(database: Database, export_id: str, folder: Path) -> None:
    """Record an export as ready."""
    model = artifacts.write(str(folder / "store" / "model.onnx"), b"graph", name="model")
    with leased(database, f"export-{export_id}") as (session, lease):
        exports.record_report(session, lease, export_report(model))


def test_an_export_is_downloaded_once_it_is_ready(
    searchd: Run,
    service: Service,
    database: Database,
    trial: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(service.url) as client:
        export_id = client.create_export(trial, ExportSpec()).id
    while_waiting(monkeypatch, lambda: finish(database, export_id, tmp_path))

    result = searchd("detector", "export", trial, "--out", tmp_path / "out", "--output", "json")

    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["id"], shown["status"]) == (export_id, "ready")
    assert shown["paths"] == [str(tmp_path / "out" / "model.onnx")]
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"graph"


def test_what_was_measured_is_shown(
    searchd: Run, service: Service, database: Database, trial: str, tmp_path: Path
) -> None:
    with Client(service.url) as client:
        finish(database, client.create_export(trial, ExportSpec()).id, tmp_path)

    result = searchd("detector", "export", trial, "--format", "onnx", "--out", tmp_path)
    listed = searchd("detector", "exports", trial)

    assert "50.0 %, 50.0 % in torch" in result.stdout
    assert "12.0 ms (95 % below 15.0 ms) at 96x96" in result.stdout
    assert "a processor, 1 thread, onnxruntime 1.32.0" in result.stdout
    name, *cells = listed.stdout.splitlines()[1].split()
    assert name == f"{trial}-onnx-fp32-dynamic"
    assert cells[1:6] == ["ready", "50.0", "50.0", "2.50", "12.0"]


def test_exports_are_deleted(
    searchd: Run, service: Service, database: Database, trial: str, tmp_path: Path
) -> None:
    with Client(service.url) as client:
        export = client.create_export(trial, ExportSpec())
        finish(database, export.id, tmp_path)

        result = searchd("detector", "exports", "--delete", export.name)

        assert (result.exit_code, result.stdout) == (0, f"deleted export {export.name}\n")
        assert client.list_exports(trial) == []
    assert "does not exist" in searchd("detector", "exports", "--delete", export.id).stderr
    missing = searchd("detector", "exports")
    assert (missing.exit_code, "give the id of a trial, or --delete" in missing.stderr) == (2, True)


def test_an_export_in_8_bits_is_requested_with_its_options(
    searchd: Run, service: Service, database: Database, trial: str, tmp_path: Path
) -> None:
    fields = {"format": "openvino", "precision": "int8", "input": "96x64", "max_ap_loss": 0.5}
    spec = ExportSpec.model_validate({**fields, "calibration_images": 8, "calibration_seed": 3})
    with Client(service.url) as client:
        finish(database, client.create_export(trial, spec).id, tmp_path)
    command = ["detector", "export", trial, "--format", "openvino", "--precision", "int8"]
    options = ["--max-ap-loss", "0.5", "--calibration-images", "8", "--calibration-seed", "3"]

    result = searchd(*command, "--input", "96x64", *options, "--out", tmp_path)

    assert result.exit_code == 0, result.stderr
    assert f"{trial}-openvino-int8-96x64-ap0.5-n8-s3" in result.stdout
    assert "compared with the detector on 32 images; AP 0.500 (0.500 in torch)" in result.stdout


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format", "mmdet", "--precision", "int8"], "precision=int8 is not available for"),
        (["--max-ap-loss", "0.5"], "max_ap_loss=0.5 has no effect with precision=fp32"),
        (["--format", "tensorrt"], "format=tensorrt has no dynamic input; give a size"),
    ],
)
def test_what_does_not_fit_together_is_named(
    searchd: Run, trial: str, options: list[str], text: str
) -> None:
    result = searchd("detector", "export", trial, *options)

    assert result.exit_code != 0
    assert text in " ".join(result.stderr.split())


def test_a_failed_export_is_told_with_its_reason(
    searchd: Run,
    service: Service,
    database: Database,
    trial: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Client(service.url) as client:
        export_id = client.create_export(trial, ExportSpec()).id

    def fail() -> None:
        with leased(database, f"export-{export_id}") as (session, lease):
            queue.finish(session, lease, ExportStatus.FAILED, "a.png: only the export finds x")

    while_waiting(monkeypatch, fail)

    result = searchd("detector", "export", trial, "--out", tmp_path / "out")

    assert result.exit_code == 1
    assert f"export {trial}-onnx-fp32-dynamic is failed: a.png: only the export" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--input", "big"), '"big" must look like 1333x800'),
        (("--input", "16x16"), "both sides must have 32 pixels or more"),
        (("--format", "tflite"), "tflite"),
        (("--precision", "int3"), "int3"),
        (("--cpus", "0"), "cpus"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_explained(
    searchd: Run, trial: str, arguments: tuple[str, ...], text: str
) -> None:
    result = searchd("detector", "export", trial, *arguments)

    assert result.exit_code == 2
    assert text in result.stderr


def test_a_trial_that_does_not_exist_is_named(searchd: Run) -> None:
    result = searchd("detector", "export", "s-none-1")

    assert result.exit_code == 1
    assert "trial 's-none-1' does not exist" in result.stderr


def test_a_detector_shows_its_ap_by_class_and_what_errors_cost(
    searchd: Run, database: Database
) -> None:
    _, lease = start_search(database)
    report = with_breakdown(succeeded("base"))
    trial = run_trial(database, lease, base_proposal(), report).id

    lines = searchd("detector", "show", trial).stdout

    assert re.search(r"AP % by class at 96x96 +circle 75.0, square 25.0", lines)
    assert "missed 2.0" in lines
    assert re.search(r"precision at 96x96 +AP 50.0 %, AP50 70.0 %, AP70 58.0 %", lines)
    assert "AR100 61.0 %, AR medium 50.0 %, AR large 70.0 %" in lines
    assert re.search(r"masks at 96x96 +mask AP 35.0 %, mask AP50 60.0 %", lines)
