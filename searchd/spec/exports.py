"""An export of a trained detector for use without this service."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from searchd.domain.export_formats import ExportFormat, Precision, check_export, check_option
from searchd.domain.resolution import Resolution
from searchd.spec.base import ResolutionText, Spec

DYNAMIC = "dynamic"
"""The input of a file that takes images of any size."""
MIN_SIDE = 32
"""Smallest side of a fixed input in pixels: one cell of the coarsest stage of a backbone."""

_SHORT = {"max_ap_loss": "ap", "calibration_images": "n", "calibration_seed": "s"}
"""Options, as they are written in the name of an export."""


class ExportSpec(Spec):
    """An export: the format, and what its file takes and computes with."""

    format: ExportFormat = ExportFormat.ONNX
    """Format of the exported file."""
    precision: Precision = Precision.FP32
    """Numbers that the exported detector computes with."""
    input: Annotated[Literal["dynamic"] | ResolutionText, Field(union_mode="left_to_right")] = (
        "dynamic"
    )
    """Size of the images that the file takes, "WxH" in pixels: images are resized into it with
    their aspect ratio kept, and padded. "dynamic" takes images of any size."""
    max_ap_loss: float = Field(default=1.0, ge=0.01, le=100)
    """Points of AP (0 to 100) on the validation split that fp16 or int8 may lose. Layers of an
    int8 export that cost more stay in 32 bits; the export fails if that does not help. Without
    effect for fp32, whose detections must be equal."""
    calibration_images: int = Field(default=128, ge=1, le=9999)
    """Number of training images on which int8 measures the ranges of its numbers; all if there are
    fewer."""
    calibration_seed: int = Field(default=0, ge=0, le=9999)
    """Seed that chooses these images."""
    cpus: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for the export, and threads that latency is measured
    with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_export(self.format, self.precision, dynamic=self.size is None)
        for name, value in self._chosen().items():
            check_option(name, value, self.precision)
        if self.size is not None and min(self.size.width, self.size.height) < MIN_SIDE:
            raise ValueError(
                f"input={self.size} is too small; both sides must have {MIN_SIDE} pixels or more"
            )
        return self

    @property
    def size(self) -> Resolution | None:
        """The fixed size of the input; None: dynamic."""
        return self.input if isinstance(self.input, Resolution) else None

    @property
    def kind(self) -> str:
        """What tells the exports of one detector apart, such as "onnx-fp32-dynamic"; options that
        are not the default follow, such as "onnx-int8-dynamic-ap0.5"."""
        options = [f"{_SHORT[name]}{value:.4g}" for name, value in self._chosen().items()]
        return "-".join([self.format, self.precision, str(self.input), *options])

    def _chosen(self) -> dict[str, float]:
        """Return the options that are not the default."""
        values = {name: getattr(self, name) for name in _SHORT}
        fields = type(self).model_fields
        return {name: value for name, value in values.items() if value != fields[name].default}
