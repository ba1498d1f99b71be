"""The formats that detectors are exported in. Standard library only.

A new format is a row here and the module that it names, which has a function
`write(model, folder, request) -> Exported` as `detection.deployment.exported` describes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.errors import InvalidValueError


class ExportFormat(StrEnum):
    """The file format of an exported detector.

    Attributes:
        ONNX: One graph of standard ONNX operators, from pixels to boxes; runs in onnxruntime.
    """

    ONNX = "onnx"


class Precision(StrEnum):
    """The numbers that an exported detector computes with.

    Attributes:
        FP32: 32-bit floating point, as in training.
    """

    FP32 = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatTraits:
    """What a format can do."""

    module: str
    """Module that writes it. It is imported by workers only."""
    precisions: tuple[Precision, ...]
    dynamic: bool
    """Whether one file takes images of any size."""


FORMATS: Mapping[ExportFormat, FormatTraits] = {
    ExportFormat.ONNX: FormatTraits(
        module="detection.deployment.onnx_format", precisions=(Precision.FP32,), dynamic=True
    ),
}


def check_export(format_: ExportFormat, precision: Precision, *, dynamic: bool) -> None:
    """Check that a format can have a precision and a kind of input.

    Raises:
        InvalidValueError: It cannot; the message says what it can have.
    """
    traits = FORMATS[format_]
    if precision not in traits.precisions:
        raise InvalidValueError(
            f"precision={precision} is not available for format={format_}; use "
            f"{' or '.join(traits.precisions)}"
        )
    if dynamic and not traits.dynamic:
        raise InvalidValueError(
            f"format={format_} has no dynamic input; give a size, such as 640x480"
        )
