"""What every export format makes: files, and something that runs them.

A format is a module with `write(model, folder, request) -> Exported`, and
`load(model, num_threads=...) -> Runner`, which runs the file again. They are listed in
`searchd.domain.export_formats`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detection.families import PIXEL_MEAN
from searchd.domain.detector import Detector
from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution

OUTPUTS = ("boxes", "scores", "labels")
"""What every exported graph returns, by name and in this order; see `graph.GraphOutputs`."""
MASKS = "masks"
"""What the graph of a detector that finds masks returns after them."""

Pixels = NDArray[np.float32]
"""1 x 3 x H x W, RGB, 0 to 255."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """The detections on one image, by falling score."""

    boxes: NDArray[np.float32]
    """n x 4, xyxy in pixels of the input."""
    scores: NDArray[np.float32]
    """n, in [0, 1]."""
    labels: NDArray[np.int64]
    """n, in the order of the data set's classes."""
    masks: NDArray[np.float32] | None = None
    """n x M x M, for each of M x M cells of the box the probability in [0, 1] that it is of the
    object. None: the detector finds boxes alone."""

    def where(self, chosen: NDArray[np.bool_]) -> "Found":
        """Return the detections that are chosen, n."""
        return Found(
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            masks=None if self.masks is None else self.masks[chosen],
        )


class Runner(Protocol):
    """Runs a detector."""

    @property
    def software(self) -> str:
        """The runtime and its version, in words."""

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""

    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN before any selection of boxes."""


def answers(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of a graph's outputs that are detections, in their order; the others are raw
    outputs."""
    given = set(names)
    return tuple(name for name in (*OUTPUTS, MASKS) if name in given)


def found_first(outputs: Iterable[NDArray[Any]]) -> Found:
    """Return what the `answers` of a graph say of the first image of the batch."""
    boxes, scores, labels, *masks = (each[0] for each in outputs)
    found = Found(boxes=boxes, scores=scores, labels=labels, masks=masks[0] if masks else None)
    return found.where(labels >= 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be written."""

    precision: Precision
    size: Resolution | None
    """The fixed size of the input; None: any."""
    resolution: Resolution
    """The resolution that images are resized to."""
    class_names: tuple[str, ...]
    """Names of the classes in the order of the labels."""
    num_threads: int = 1
    """Threads of the runner."""
    licence: str | None = None
    """Licence of the weights that the detector descends from; None: unknown."""
    detector: Detector | None = None
    """What the model is, for formats that consist of a config."""
    calibration: Sequence[Pixels] = ()
    """Training images on which the ranges of integers are measured."""
    ap_loss: Callable[[Runner], float] = field(default=lambda _: 0.0)
    """Returns how much AP in [0, 1] a runner loses on the validation split; 0: not measured."""
    max_ap_loss: float = 0.01
    """Largest loss of AP in [0, 1] of an export with fewer bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written export."""

    model: Path
    """The file that holds the detector."""
    runner: Runner
    """Runs that file."""
    programs: tuple[Path, ...] = field(default=())
    """Programs that show how the file is used."""
    parts: tuple[Path, ...] = field(default=())
    """Further files that the model needs beside it."""
    usage: str = ""
    """How the files are used, as Markdown."""
    kept: tuple[str, ...] = field(default=())
    """Parts of an int8 detector that stayed in 32 bits, because AP fell by too much otherwise."""

    @property
    def size_bytes(self) -> int:
        """Size of the model with its parts."""
        return sum(file.stat().st_size for file in (self.model, *self.parts))


def facts(request: Request) -> dict[str, str]:
    """Return what a program needs to use a file, as JSON texts that are stored in the file."""
    resolution = request.size or request.resolution
    values = {
        "class_names": list(request.class_names),
        "resolution": [resolution.width, resolution.height],
        "fixed": request.size is not None,
        "fill": list(PIXEL_MEAN),
        "licence": request.licence or "unknown",
    }
    return {name: json.dumps(value) for name, value in values.items()}
