"""An export of a trained detector for use without this service."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from searchd.domain.export_formats import ExportFormat, Precision, check_export
from searchd.domain.resolution import Resolution
from searchd.spec.base import ResolutionText, Spec

DYNAMIC = "dynamic"
"""The input of a file that takes images of any size."""
MIN_SIDE = 32
"""Smallest side of a fixed input in pixels: one cell of the coarsest stage of a backbone."""


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
    cpus: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for the export, and threads that latency is measured
    with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_export(self.format, self.precision, dynamic=self.size is None)
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
        """What tells the exports of one detector apart, such as "onnx-fp32-dynamic"."""
        return f"{self.format}-{self.precision}-{self.input}"
