"""What every export format makes: files, and something that runs them.

A format is a module with `write(model, folder, request) -> Exported`, and
`load(model, num_threads=...) -> Runner`, which runs the file again. They are listed in
`searchd.domain.export_formats`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution

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


class Runner(Protocol):
    """Runs a detector."""

    @property
    def software(self) -> str:
        """The runtime and its version, in words."""

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""

    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN before any selection of boxes."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A written export."""

    model: Path
    """The file that holds the detector."""
    runner: Runner
    """Runs that file."""
    programs: tuple[Path, ...] = field(default=())
    """Programs that show how the file is used."""
