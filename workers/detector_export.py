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
from detection.deployment.card import SAMPLE, card, readme
from detection.deployment.check import Comparison, compare, measure_aps
from detection.deployment.drawing import sample
from detection.deployment.exported import Exported, Request
from detection.deployment.opened import CARD, Opened
from detection.deployment.quantised import with_images
from detection.deployment.timing import device_name, measure
from detection.stored_weights import read_student
from searchd import artifacts
from searchd.domain.accuracy import ApKind
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS, PRECISIONS
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
    request = _request(task, model, validation, train)
    with tempfile.TemporaryDirectory() as folder:
        exported = _writer(task.spec)(model, Path(folder), request)
        found = compare(model, exported, request, validation, train)
        measurement = _measured(task, exported, found)
        aps = {"validation": found.aps}
        if task.dataset.test is not None:
            test = CocoSplit(task.dataset.test)
            aps["test"] = measure_aps(exported.runner, request, test)
        described = card(
            task.spec,
            task.detector,
            exported,
            measurement,
            aps,
            task.facts,
            resolution=request.size or request.resolution,
            licence=task.licence,
        )
        opened = Opened(model=exported.model, runner=exported.runner, request=request)
        files = _stored(task, exported, described, sample(opened, validation))
    report = ExportReport(files=files, measurement=measurement)
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    artifacts.write(uri, EXPORT_REPORT.dump_json(report), name="report")
    return report


def _request(task: ExportTask, model: Any, validation: CocoSplit, train: CocoSplit) -> Request:
    spec = task.spec
    request = Request(
        precision=spec.precision,
        size=spec.size,
        resolution=task.resolution,
        class_names=validation.class_names,
        num_threads=task.num_threads,
        licence=task.licence,
        detector=task.detector,
        max_ap_loss=spec.max_ap_loss / 100,
    )
    if not PRECISIONS[spec.precision].calibrated:
        return request
    number, seed = spec.calibration_images, spec.calibration_seed
    return with_images(request, model, validation, train, number=number, seed=seed)


def _writer(spec: ExportSpec) -> Callable[[Any, Path, Request], Exported]:
    """Return the function that writes a format.

    Raises:
        InvalidValueError: The packages of the format are not installed.
    """
    traits = FORMATS[spec.format]
    try:
        module = import_module(traits.module)
    except ModuleNotFoundError as error:
        raise InvalidValueError(
            f"format={spec.format} needs the package {error.name}, which is not installed where "
            f"workers run; install searchd with the extra {traits.extra}: "
            f"pip install 'searchd[{traits.extra}]'"
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
        torch_ap=found.in_torch.ap,
        size_bytes=exported.size_bytes,
        resolution=Resolution(width, height),
        latency_s=timing.median_s,
        latency_p95_s=timing.p95_s,
        num_timed=timing.num_timed,
        device=device_name(task.num_threads),
        software=exported.runner.software,
        kept=exported.kept,
        **_of_masks(task, found),
    )


def _of_masks(task: ExportTask, found: Comparison) -> dict[str, float]:
    """Return what was measured of the masks of a detector that finds them."""
    if not task.detector.family.has_masks:
        return {}
    return {
        "mask_difference": found.detections.mask,
        "mask_ap": found.aps.total.of(ApKind.MASK_AP),
        "torch_mask_ap": found.in_torch.of(ApKind.MASK_AP),
    }


def _stored(
    task: ExportTask, exported: Exported, described: dict[str, Any], picture: bytes
) -> tuple[Artifact, ...]:
    """Store the files of an export. The name of an artifact is that of its file without the ending,
    unless another file has it already."""
    files = (exported.model, *exported.parts, *exported.programs)
    contents = {
        **{file.name: file.read_bytes() for file in files},
        "README.md": readme(described).encode(),
        CARD: json.dumps(described, indent=2).encode(),
        SAMPLE: picture,
    }
    stored: dict[str, Artifact] = {}
    for file, content in contents.items():
        stem, ending = Path(file).stem.lower(), Path(file).suffix[1:]
        name = f"{stem}-{ending}" if stem in stored else stem
        uri = artifacts.join(task.artifacts, file)
        stored[name] = artifacts.write(uri, content, name=name)
    return tuple(stored.values())
