"""Opens exported files, each in the runtime of its format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.data.masks import Segmentation
from detection.deployment.exported import Request, Runner
from detection.deployment.images import boxes_in_image, prepared, segmentations
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS, ExportFormat, Precision
from searchd.domain.resolution import Resolution

CARD = "card.json"
_ONNX = "model.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One detection on an image."""

    label: int
    """From 0, in the order of the detector's classes."""
    score: float
    """In [0, 1]."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image."""
    segmentation: Segmentation | None = None
    """The pixels of the image that are of the object; None: the detector finds boxes alone."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """An exported detector, ready to run."""

    model: Path
    """The file that holds the detector."""
    runner: Runner
    """Runs that file."""
    request: Request
    """What the file was written for: classes, input, precision."""

    def detect(self, image: NDArray[np.uint8], least_score: float = 0.0) -> list[Seen]:
        """Detect on an image, H x W x 3, RGB; the best detection is first."""
        request = self.request
        size = request.size or request.resolution
        given = prepared(image, size, fixed=request.size is not None)
        found = self.runner.detect(given.pixels)
        found = found.where(found.scores >= least_score)
        boxes = boxes_in_image(found, given.scale)
        height, width = image.shape[:2]
        masks = segmentations(found, boxes, width, height)
        values = (found.labels.tolist(), found.scores.tolist(), boxes.tolist(), masks)
        return [
            Seen(label=label, score=score, box=tuple(box), segmentation=mask)
            for label, score, box, mask in zip(*values, strict=True)
        ]


def open_export(source: Path, *, num_threads: int = 1) -> Opened:
    """Open an export.

    Args:
        source: A folder that an export was downloaded into, or the exported file. An ONNX file
            needs nothing beside it, files of other formats need their card.json.
        num_threads: Threads that the detector computes with.

    Raises:
        InvalidValueError: The folder has no export, the file or its card cannot be read, or the
            packages of its format are not installed.
    """
    folder = source if source.is_dir() else source.parent
    export = _of_card(folder / CARD)
    model = folder / export.get("file", _ONNX) if source.is_dir() else source
    if not model.is_file():
        raise InvalidValueError(
            f"{folder} has no {model.name}; give a folder that `searchd detector export` wrote"
        )
    if export.get("file") != model.name:
        return _open_alone(model, num_threads)
    format_, request = _request(export, num_threads, folder)
    runner = format_module(format_).load(model, num_threads=num_threads)
    return Opened(model=model, runner=runner, request=request)


def format_module(format_: ExportFormat) -> ModuleType:
    """Return the module of a format.

    Raises:
        InvalidValueError: The packages of the format are not installed.
    """
    try:
        return import_module(FORMATS[format_].module)
    except ModuleNotFoundError as error:
        raise InvalidValueError(
            f"format {format_} needs the package {error.name}, which is not installed here; "
            f"install it: pip install 'searchd[{FORMATS[format_].extra}]'"
        ) from error


def _open_alone(model: Path, num_threads: int) -> Opened:
    """Open an ONNX file, which tells itself what it was written for."""
    if model.suffix != ".onnx":
        raise InvalidValueError(
            f"{model} needs the {CARD} that was exported with it, in the same folder"
        )
    runner = format_module(ExportFormat.ONNX).load(model, num_threads=num_threads)
    facts = runner.facts
    if not {"class_names", "resolution", "fixed"} <= facts.keys():
        raise InvalidValueError(
            f"{model} does not name its classes and its resolution; give a file that `searchd "
            "detector export` wrote"
        )
    resolution = Resolution(*facts["resolution"])
    request = Request(
        precision=Precision.FP32,
        size=resolution if facts["fixed"] else None,
        resolution=resolution,
        class_names=tuple(facts["class_names"]),
        num_threads=num_threads,
    )
    return Opened(model=model, runner=runner, request=request)


def _of_card(path: Path) -> Mapping[str, Any]:
    """Return what a card says about the file; nothing if there is no card, or one of a version that
    did not name the file."""
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text())
        export, classes = card["export"], card["classes"]
        is_complete = "resolution" in export and "file" in card
        return {**export, "file": card["file"], "classes": classes} if is_complete else {}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidValueError(
            f"{path} is not the card of an export; download the export again"
        ) from error


def _request(
    export: Mapping[str, Any], num_threads: int, folder: Path
) -> tuple[ExportFormat, Request]:
    try:
        format_, precision = ExportFormat(export["format"]), Precision(export["precision"])
    except ValueError as error:
        raise InvalidValueError(
            f"{folder} holds a detector as {export['format']} in {export['precision']}, which this "
            "version of searchd does not know; use the version that exported it"
        ) from error
    resolution = Resolution.parse(export["resolution"])
    return format_, Request(
        precision=precision,
        size=None if export["input"] == "dynamic" else resolution,
        resolution=resolution,
        class_names=tuple(export["classes"]),
        num_threads=num_threads,
    )
