"""`searchd detector benchmark`: two detectors in torch and as files that find fixed boxes."""

import csv
import io
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from api.client import Client
from cli.resources import export_files
from detection.deployment import opened
from detection.stored_weights import write_weights
from searchd import artifacts
from searchd.domain.detector import Family
from searchd.domain.export_formats import FORMATS, ExportFormat
from searchd.domain.lifecycle import ExportStatus
from searchd.domain.resolution import Resolution
from searchd.messages.files import STUDENT
from searchd.spec import DatasetSpec, ExportSpec
from searchd.store import Database
from searchd.store.resources import datasets, exports
from searchd.store.work import queue
from tests.api.service import Service
from tests.cli.conftest import Run
from tests.detection.deployment import tiny
from tests.fixed_graphs import card, write_graph
from tests.searchd.store.factories import (
    base_proposal,
    export_report,
    leased,
    run_trial,
    search_proposal,
    start_search,
    succeeded,
)
from tests.small_splits import write_split

pytestmark = pytest.mark.timeout(120)  # detectors are loaded and timed in torch

SPEC = ExportSpec(input=Resolution(32, 32))


@pytest.fixture
def trials(database: Database, tmp_path: Path) -> tuple[str, str]:
    """The ids of a base and of a detector that was found, both with weights."""
    split = write_split(tmp_path / "pets", {"cat": [16, 8, 32, 32], "dog": [0, 0, 8, 8]})
    with database.write() as session:
        spec = DatasetSpec(name="shapes", train=split, validation=split)
        row = datasets.create(session, spec)
    with leased(database, f"dataset_check-{row.id}") as (session, lease):
        datasets.record_ready(session, lease, {"class_names": ["cat", "dog"]})
    _, lease = start_search(database)
    student = tiny.student(Family.FCOS)
    weights = write_weights(str(tmp_path / "student"), STUDENT, student.weights)
    made: dict[str, Any] = {"detector": student.detector, "artifacts": (weights,)}
    base = run_trial(database, lease, base_proposal(), replace(succeeded("base"), **made))
    found = run_trial(database, lease, search_proposal(0), replace(succeeded("0"), **made))
    return base.id, found.id


def export(service: Service, trial: str, folder: Path) -> None:
    """Record a ready export."""
    write_graph(folder)
    (folder / "card.json").write_text(json.dumps(card()))
    files = [
        artifacts.write(str(folder / "store" / name), (folder / name).read_bytes(), name=role)
        for name, role in (("model.onnx", "model"), ("card.json", "card"))
    ]
    with Client(service.url) as client:
        export_id = client.create_export(trial, SPEC).id
    with leased(service.database, f"export-{export_id}") as (session, lease):
        exports.record_report(session, lease, export_report(*files))


def benchmark(searchd: Run, trial: str, out: Path, *more: object) -> Any:
    kind = ("--formats", "onnx:fp32", "--input", "32x32")
    return searchd("detector", "benchmark", trial, *kind, "--out", out, *more)


def test_a_detector_is_compared_with_its_base_in_every_format(
    searchd: Run, service: Service, trials: tuple[str, str], tmp_path: Path
) -> None:
    base, found = trials
    for number, trial in enumerate(trials):
        export(service, trial, tmp_path / str(number))

    result = benchmark(searchd, found, tmp_path / "out", "--format", "json")
    table = benchmark(searchd, found, tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert [(row["detector"], row["role"], row["format"]) for row in rows] == [
        (found, "detector", "torch"),
        (found, "detector", "onnx"),
        (base, "base", "torch"),
        (base, "base", "onnx"),
    ]
    assert [(row["ap"], row["test_ap"]) for row in rows[:2]] == [(0.5, 0.45), (0.5, 0.4)]
    assert rows[1]["size_bytes"] == 2_500_000
    for row in rows:
        assert 0 < row["latency_s"] <= row["latency_p95_s"]
        assert row["images_per_s"] > 0
        assert (
            row["software"].split()[0] == {"torch": "torch", "onnx": "onnxruntime"}[row["format"]]
        )
    lines = [line.split() for line in table.stdout.splitlines()]
    assert lines[2][:5] == [found, "onnx", "fp32", "50.0", "40.0"]
    assert lines[3][:4] == [base, "(base)", "torch", "fp32"]
    with (tmp_path / "out" / "benchmark.csv").open() as file:
        assert [row["format"] for row in csv.DictReader(file)] == ["torch", "onnx"] * 2
    with Image.open(tmp_path / "out" / "benchmark.png") as plot:
        assert plot.size == (1690, 585)
    assert (tmp_path / "out" / found / "onnx-fp32-32x32" / "model.onnx").is_file()


def test_what_does_not_run_is_listed_with_the_reason(
    searchd: Run,
    service: Service,
    database: Database,
    trials: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, _ = trials
    with Client(service.url) as client:
        requested = client.create_export(base, SPEC).id

    def fail() -> None:
        with leased(database, f"export-{requested}") as (session, lease):
            queue.finish(session, lease, ExportStatus.FAILED, "a.png: only the export finds a cat")

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: fail())
    monkeypatch.setattr(export_files, "time", clock)

    result = benchmark(searchd, base, tmp_path / "out")

    assert result.exit_code == 0, result.stderr  # torch ran
    expected = "not run: onnx fp32: its export failed: a.png: only the export finds a cat"
    assert expected in result.stdout

    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")

    monkeypatch.setattr(opened, "import_module", missing)
    shown = benchmark(searchd, base, tmp_path / "out", "--format", "csv")
    (_, row) = csv.DictReader(io.StringIO(shown.stdout))
    assert row["latency_s"] == ""
    assert row["reason"].startswith("format onnx needs the package onnxruntime, which is not inst")


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("--formats", "onnx:int3"), "--formats 'onnx:int3' is none of all, onnx:fp32"),
        (("--formats", ""), "--formats '' is none of all"),
        (("--input", "big"), "must look like 1333x800"),
    ],
)
def test_wrong_usage_is_explained(searchd: Run, option: tuple[str, str], text: str) -> None:
    result = searchd("detector", "benchmark", "s-none-1", *option)

    assert (result.exit_code, text in result.stderr) == (2, True)


def test_all_formats_that_are_registered_are_chosen(searchd: Run) -> None:
    missing = searchd("detector", "benchmark", "s-none-1", "--formats", "all")

    assert set(FORMATS) == set(ExportFormat)
    assert (missing.exit_code, "trial 's-none-1' does not exist" in missing.stderr) == (1, True)
