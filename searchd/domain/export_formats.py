"""The formats that detectors are exported in. Standard library only.

A new format is a row here and the module that it names, which has a function
`write(model, folder, request) -> Exported` as `detection.deployment.exported` describes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.detector import Detector
from searchd.domain.errors import InvalidValueError


class ExportFormat(StrEnum):
    """The file format of an exported detector.

    Attributes:
        ONNX: One graph of standard ONNX operators, from pixels to boxes and masks; runs in
            onnxruntime.
        OPENVINO: The same graph as OpenVINO IR, two files; runs in OpenVINO.
        TORCHSCRIPT: The same graph as a TorchScript module; runs in torch without other packages.
        MMDET: Config and checkpoint, which mmdet loads.
        TENSORRT: An engine for the GPU that it was built on; runs in TensorRT.
    """

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCHSCRIPT = "torchscript"
    MMDET = "mmdet"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """The numbers that an exported detector computes with.

    Attributes:
        FP32: 32-bit floating point, as in training.
        FP16: 16-bit floating point in backbone, neck and heads; boxes are decoded in 32 bits.
        INT8: 8-bit integers in backbone, neck and heads, where AP allows it.
    """

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTraits:
    """What a precision needs, and what an export with it must keep."""

    exact: bool = False
    """Whether it must find what the detector finds. Otherwise its AP may fall by a limit."""
    calibrated: bool = False
    """Whether the ranges of its numbers are measured on training images."""

    @property
    def options(self) -> tuple[str, ...]:
        """The options of an export that have an effect on it."""
        limit = () if self.exact else ("max_ap_loss",)
        return (*limit, "calibration_images", "calibration_seed") if self.calibrated else limit


PRECISIONS: Mapping[Precision, PrecisionTraits] = {
    Precision.FP32: PrecisionTraits(exact=True),
    Precision.FP16: PrecisionTraits(),
    Precision.INT8: PrecisionTraits(calibrated=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatTraits:
    """What a format can do, and what it needs."""

    module: str
    """Module that writes it. It is imported by workers only."""
    precisions: tuple[Precision, ...]
    dynamic: bool
    """Whether one file can take images of any size."""
    fixed: bool = True
    """Whether a file can be made for one size."""
    deformable: bool = False
    """Whether a file can hold deformable convolutions, for which graphs have no operator."""
    extra: str = ""
    """Optional extra of searchd that installs its packages; empty if it needs no further ones."""
    gpus: int = 0
    """Number of GPUs that an export needs."""


_EVERY_PRECISION = (Precision.FP32, Precision.FP16, Precision.INT8)
FORMATS: Mapping[ExportFormat, FormatTraits] = {
    ExportFormat.ONNX: FormatTraits(
        module="detection.deployment.onnx_format",
        precisions=_EVERY_PRECISION,
        dynamic=True,
        extra="export",
    ),
    ExportFormat.OPENVINO: FormatTraits(
        module="detection.deployment.openvino_format",
        precisions=_EVERY_PRECISION,
        dynamic=True,
        extra="openvino",
    ),
    ExportFormat.TORCHSCRIPT: FormatTraits(
        module="detection.deployment.torchscript_format",
        precisions=(Precision.FP32,),
        dynamic=True,
    ),
    ExportFormat.MMDET: FormatTraits(
        module="detection.deployment.mmdet_format",
        precisions=(Precision.FP32,),
        dynamic=True,
        fixed=False,
        deformable=True,
    ),
    ExportFormat.TENSORRT: FormatTraits(
        module="detection.deployment.tensorrt_format",
        precisions=(Precision.FP32, Precision.FP16),
        dynamic=False,
        extra="tensorrt",
        gpus=1,
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
    if not dynamic and not traits.fixed:
        raise InvalidValueError(
            f"format={format_} takes images of any size; give input=dynamic, or leave it out"
        )


def check_detector(format_: ExportFormat, detector: Detector) -> None:
    """Check that a format can hold the convolutions of a detector.

    Raises:
        InvalidValueError: It cannot; the message names the formats that can.
    """
    blocks = detector.architecture.placed_blocks()
    if any(each.block.deformable for each in blocks) and not FORMATS[format_].deformable:
        able = " or ".join(name for name, traits in FORMATS.items() if traits.deformable)
        raise InvalidValueError(
            f"format={format_} has no deformable convolutions, which this detector has; use "
            f"format={able}"
        )


def check_option(name: str, value: float, precision: Precision) -> None:
    """Check that an option has an effect on exports with a precision.

    Raises:
        InvalidValueError: It has none; the message says where it has one.
    """
    if name not in PRECISIONS[precision].options:
        others = [each for each, traits in PRECISIONS.items() if name in traits.options]
        raise InvalidValueError(
            f"{name}={value:g} has no effect with precision={precision}; leave it out, or use "
            f"precision={' or '.join(others)}"
        )
