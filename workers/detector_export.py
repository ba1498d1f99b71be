"""Exports a trained detector, compares the export with it, and stores what belongs to it.

A plain function from a task to a report. It reaches no database and writes the report last.
"""

import json
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from detection.build import load_student
from detection.data.coco import CocoSplit
from detection.deployment.card import card, readme
from detection.deployment.check import Comparison, compare, measure_aps
from detection.deployment.exported import Exported, Request
from detection.deployment.timing import device_name, measure
from detection.stored_weights import read_student
from searchd import artifacts
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact
from searchd.messages.codecs import EXPORT_REPORT
from searchd.messages.exports import ExportMeasurement, ExportReport, ExportTask
from searchd.messages.files import REPORT_FILE
from searchd.spec import ExportSpec
from workers.torch_settings import configure_torch


def export_detector(task: ExportTask) -> ExportReport:
    """Write an export, prove that it finds what the detector finds, and measure it.

    Returns:
        The report, after it was stored as `report.json` in the task's folder.

    Raises:
        ArtifactError: The stored student is missing or damaged.
        DataError: The data set cannot be read.
        InvalidValueError: The detector cannot be exported in this format, or the packages of the
            format are not installed.
        ParityError: The export does not find what the detector finds.
    """
    configure_torch(task)
    validation, train = CocoSplit(task.dataset.validation), CocoSplit(task.dataset.train)
    model = load_student(read_student(task.detector, task.student)).eval().requires_grad_(False)
    request = Request(
        precision=task.spec.precision,
        size=task.spec.size,
        resolution=task.resolution,
        class_names=validation.class_names,
        num_threads=task.num_threads,
    )
    with tempfile.TemporaryDirectory() as folder:
        exported = _writer(task.spec)(model, Path(folder), request)
        found = compare(model, exported, request, validation, train)
        measurement = _measured(task, exported, found)
        aps = {"validation": found.aps}
        if task.dataset.test is not None:
            aps["test"] = measure_aps(exported, request, CocoSplit(task.dataset.test))
        described = card(task.spec, task.detector, measurement, aps, task.facts)
        files = _stored(task, exported, described)
    report = ExportReport(files=files, measurement=measurement)
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    artifacts.write(uri, EXPORT_REPORT.dump_json(report), name="report")
    return report


def _writer(spec: ExportSpec) -> Callable[[Any, Path, Request], Exported]:
    """Return the function that writes a format.

    Raises:
        InvalidValueError: The packages of the format are not installed.
    """
    try:
        module = import_module(FORMATS[spec.format].module)
    except ModuleNotFoundError as error:
        raise InvalidValueError(
            f"format={spec.format} needs the package {error.name}, which is not installed where "
            "workers run; install searchd with the extra export: pip install 'searchd[export]'"
        ) from error
    write: Callable[[Any, Path, Request], Exported] = module.write
    return write


def _measured(task: ExportTask, exported: Exported, found: Comparison) -> ExportMeasurement:
    height, width = found.example.pixels.shape[-2:]
    timing = measure(exported.runner, found.example.pixels)
    return ExportMeasurement(
        num_compared=found.num_images,
        raw_difference=found.raw,
        box_difference=found.detections.box,
        score_difference=found.detections.score,
        num_detections=found.detections.num_detections,
        num_at_threshold=found.detections.num_at_threshold,
        num_unexplained=len(found.detections.unexplained),
        ap=found.aps.total.ap,
        torch_ap=found.torch_ap,
        size_bytes=exported.model.stat().st_size,
        resolution=Resolution(width, height),
        latency_s=timing.median_s,
        latency_p95_s=timing.p95_s,
        num_timed=timing.num_timed,
        device=device_name(task.num_threads),
        software=exported.runner.software,
    )


def _stored(
    task: ExportTask, exported: Exported, described: dict[str, Any]
) -> tuple[Artifact, ...]:
    """Store the files of an export; the name of a file is that of its artifact and an ending."""
    contents = {
        exported.model.name: exported.model.read_bytes(),
        **{program.name: program.read_bytes() for program in exported.programs},
        "README.md": readme(described).encode(),
        "card.json": json.dumps(described, indent=2).encode(),
    }
    return tuple(
        artifacts.write(artifacts.join(task.artifacts, file), content, name=Path(file).stem.lower())
        for file, content in contents.items()
    )
