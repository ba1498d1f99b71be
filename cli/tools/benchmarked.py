"""Downloads and times the exports of a benchmark on this machine. Imports torch."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from api import schemas
from api.client import ApiError, Client, UnreachableError
from cli.progress import progress
from cli.resources.export_files import wait
from cli.tools.benchmark_plan import TORCH, Compared, Row
from detection.build import Student, load_student
from detection.data.coco import CocoSplit
from detection.deployment.check import inputs
from detection.deployment.exported import Request
from detection.deployment.opened import CARD, Opened, open_export
from detection.deployment.timing import ROUNDS, compare, device_name
from detection.deployment.torch_runner import TorchRunner
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision
from searchd.domain.lifecycle import ExportStatus
from searchd.messages.files import STUDENT, weights_file
from searchd.spec.exports import DYNAMIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """The result of a benchmark."""

    rows: list[Row]
    device: str
    """Hardware and number of threads, in words."""
    image: str
    """The image that was detected on."""


def measured(client: Client, plan: Sequence[Compared], out: Path, *, num_threads: int) -> Timed:
    """Wait for the exports, download them, and time them beside the detectors in torch.

    Args:
        client: Client of the service.
        plan: What to compare.
        out: Folder to download into.
        num_threads: Threads that detectors compute with.

    Raises:
        ApiError: The service refuses a call.
        DataError: The images of the data set cannot be read on this machine.
    """
    split = _validation(client, plan[0].trial)
    _wait(client, plan)
    torch.set_num_threads(num_threads)
    runs: list[tuple[Row, Opened]] = []
    rows: list[Row] = []
    for each in plan:
        eager = _torch_row(each)
        exported = list(_opened(client, each, out, num_threads, eager))
        runs += [*_in_torch(client, each, out, split.class_names, eager), *exported]
        rows += [eager, *each.rows]
    _time(runs, split)
    return Timed(
        rows=rows,
        device=device_name(num_threads),
        image=f"the image {split.records[0].path}",
    )


def _validation(client: Client, detector: schemas.Detector) -> CocoSplit:
    dataset = client.get_dataset(client.get_run(detector.search_id).dataset_id)
    return CocoSplit(dataset.spec.as_checked(dataset.summary).validation)


def _wait(client: Client, plan: Sequence[Compared]) -> None:
    """Wait until all exports have ended; rows of those that failed get the reason."""
    pending = [(row, export) for each in plan for row, export in each.exports]
    ended = iter(wait(client, [export for _, export in pending]))
    for each in plan:
        each.exports = [(row, next(ended)) for row, _ in each.exports]
        for row, export in each.exports:
            if export.status is not ExportStatus.READY:
                row.reason = f"its export failed: {export.status_reason}"


def _torch_row(of: Compared) -> Row:
    """Return the row of a detector as the search measured it."""
    return Row(
        detector=of.trial.trial_id,
        role=of.role,
        format=TORCH,
        precision=Precision.FP32,
        input=DYNAMIC,
        ap=of.best.ap,
    )


def _opened(
    client: Client, of: Compared, out: Path, num_threads: int, eager: Row
) -> Iterator[tuple[Row, Opened]]:
    """Download and open the exports of a detector. Their cards have the detector's AP on test."""
    for row, export in of.exports:
        if row.reason or export.measurement is None:
            continue
        folder = out / of.trial.trial_id / export.spec.kind
        folder.mkdir(parents=True, exist_ok=True)
        client.download_export(export, folder)
        card = json.loads((folder / CARD).read_text())
        aps = card["export aps"]
        row.ap, row.test_ap = aps["validation"]["ap"], aps.get("test", {}).get("ap")
        row.size_bytes = export.measurement.size_bytes
        eager.test_ap = _test_ap(card, str(of.best.resolution))
        try:
            yield row, open_export(folder, num_threads=num_threads)
        except InvalidValueError as error:  # it was exported elsewhere
            row.reason = str(error)


def _test_ap(card: dict[str, Any], resolution: str) -> float | None:
    """Return the AP in torch on the test split that a card has."""
    for each in card["measurements"]:
        if (each["split"], each["resolution"]) == ("test", resolution):
            return float(each["ap"])
    return None


def _in_torch(
    client: Client, of: Compared, out: Path, class_names: tuple[str, ...], row: Row
) -> Iterator[tuple[Row, Opened]]:
    """Load the detector in torch, unless its weights were removed."""
    folder = out / of.trial.trial_id / TORCH
    folder.mkdir(parents=True, exist_ok=True)
    try:
        weights = client.download(of.trial.trial_id, STUDENT, folder / weights_file(STUDENT))
    except UnreachableError:
        raise
    except ApiError as error:
        row.reason = str(error)
        return
    row.size_bytes = weights.stat().st_size
    student = Student(detector=of.trial.detector, weights=load_file(weights))
    request = Request(
        precision=Precision.FP32,
        size=None,
        resolution=of.best.resolution,
        class_names=class_names,
    )
    runner = TorchRunner(load_student(student).eval().requires_grad_(False))
    yield row, Opened(model=weights, runner=runner, request=request)


def _time(runs: Sequence[tuple[Row, Opened]], split: CocoSplit) -> None:
    """Time all detectors on the first image, and write what was found into their rows."""
    runners = [(opened.runner, inputs(split, 0, opened.request).pixels) for _, opened in runs]
    with progress("turns of timing", ROUNDS * len(runners)) as advance:
        timings = compare(runners, advance=advance)
    for (row, opened), timing in zip(runs, timings, strict=True):
        row.latency_s, row.latency_p95_s = timing.median_s, timing.p95_s
        row.images_per_s, row.software = timing.images_per_s, opened.runner.software
