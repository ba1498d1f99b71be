"""Devices on which latency is measured: their runtimes, and what they like. Standard library only.

A new runtime is a row here and the module that it names, which has a function
`create(num_threads, *, gpu, precision) -> Runtime` as `detection.deployment.runtime` describes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision


class RuntimeName(StrEnum):
    """What runs detectors on a device.

    Attributes:
        ONNXRUNTIME: The exported ONNX graph in onnxruntime, on the CPU.
        OPENVINO: The same graph in OpenVINO, on the CPU.
        TORCH: The same graph in torch, without a compiler, on the CPU or a GPU.
    """

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"
    TORCH = "torch"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTraits:
    """What a runtime can do."""

    module: str
    """Module that implements it. It is imported by workers only."""
    precisions: tuple[Precision, ...] = (Precision.FP32,)
    gpu: bool = False
    """Whether it can use a GPU."""
    extra: str = "export"
    """Optional extra of searchd that has its packages."""


_WITH_INTEGERS = (Precision.FP32, Precision.INT8)
RUNTIMES: Mapping[RuntimeName, RuntimeTraits] = {
    RuntimeName.ONNXRUNTIME: RuntimeTraits(
        module="detection.deployment.onnx_runtime", precisions=_WITH_INTEGERS
    ),
    RuntimeName.OPENVINO: RuntimeTraits(
        module="detection.deployment.openvino_runtime",
        precisions=_WITH_INTEGERS,
        extra="openvino",
    ),
    RuntimeName.TORCH: RuntimeTraits(module="detection.deployment.torch_runtime", gpu=True),
}


def check_runtime(runtime: RuntimeName, precision: Precision, *, gpu: bool) -> None:
    """Check that a runtime has a precision, and can use a GPU if it is to.

    Raises:
        InvalidValueError: It cannot; the message says what it has.
    """
    traits = RUNTIMES[runtime]
    if precision not in traits.precisions:
        raise InvalidValueError(
            f"precision={precision} is not available for runtime={runtime}; use "
            f"{' or '.join(traits.precisions)}"
        )
    if gpu and not traits.gpu:
        able = " or ".join(name for name, each in RUNTIMES.items() if each.gpu)
        raise InvalidValueError(f"gpu: runtime={runtime} uses the CPU only; use {able}")


def preferred_multiple(precision: Precision, *, gpu: bool) -> int:
    """Return the multiple of channels that a device computes best: 8 on GPUs and with 8-bit
    integers, 1 elsewhere."""
    return 8 if gpu or precision == "int8" else 1
