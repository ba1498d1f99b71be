"""What runs detectors on a device, so that they and their layers can be timed there.

A runtime is a module with `create(num_threads, *, gpu, precision) -> Runtime`. They are listed in
`searchd.domain.devices`.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Protocol

import numpy as np
from mmdet.models import BaseDetector
from numpy.typing import NDArray

from searchd.domain.devices import RUNTIMES, RuntimeName
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer

Batch = NDArray[np.float32]
"""B x 3 x H x W, RGB, 0 to 255."""


class Runtime(Protocol):
    """Loads detectors and single layers, to be run."""

    @property
    def software(self) -> str:
        """The runtime and its version, in words."""

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Load a detector for images of any size. The result returns when the boxes are there.

        Args:
            model: The detector in eval mode, on the CPU. It belongs to the runtime from now on.

        Raises:
            InvalidValueError: The detector has an operator that the runtime cannot run.
        """

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Load one layer with random weights. The result computes it once for `batch` images."""


def create(
    name: RuntimeName, num_threads: int, *, gpu: bool, precision: Precision = Precision.FP32
) -> Runtime:
    """Return a runtime of this process, as `check_runtime` accepts it.

    Raises:
        InvalidValueError: Its packages are not installed, or there is no GPU.
    """
    try:
        module = import_module(RUNTIMES[name].module)
    except ModuleNotFoundError as error:
        raise InvalidValueError(
            f"runtime={name} needs the package {error.name}, which is not installed on the device; "
            f"install it there: pip install 'searchd[{RUNTIMES[name].extra}]'"
        ) from error
    runtime: Runtime = module.create(num_threads, gpu=gpu, precision=precision)
    return runtime
