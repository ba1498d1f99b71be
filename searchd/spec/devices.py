"""A device: the machine and the runtime whose latency searches may count as cost."""

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from searchd.domain.architecture import PRESETS
from searchd.domain.detector import Family
from searchd.domain.devices import RuntimeName, check_runtime, preferred_multiple
from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution
from searchd.domain.suggestions import unknown
from searchd.spec.base import Name, ResolutionText, Spec

_MEASURED = (Family.FASTER_RCNN, Family.CASCADE_RCNN, Family.RETINANET, Family.FCOS)


class TableSpec(Spec):
    """The detectors that the lookup table of a device is measured with. Choose some like those that
    searches will find: predictions far from everything measured are guesses."""

    families: tuple[Family, ...] = Field(default=_MEASURED, min_length=1)
    """Families whose latency is predicted: faster_rcnn, cascade_rcnn, retinanet, fcos, atss, gfl,
    vfnet, tood. The first four by default, since each takes minutes. Families that find masks
    cannot be measured: how long they take depends on how much they find."""
    backbones: tuple[str, ...] = Field(default=("resnet18", "resnet50"), min_length=1)
    """Names of published backbones, which are narrowed and edited at random as a search does."""
    base_channels: tuple[int, ...] = Field(default=(8, 16, 32), min_length=1)
    """Numbers of output channels of the first convolution that are drawn from; the widths of the
    backbone scale with it. A ResNet is published with 64."""
    num_classes: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(4, 20, 80), min_length=1)
    """Numbers of classes that are drawn from. More classes are more scores to choose from."""
    resolutions: tuple[ResolutionText, ...] = Field(
        default=(Resolution(320, 320), Resolution(640, 480)), min_length=1
    )
    """Input resolutions "WxH" in pixels that are measured."""
    detectors: int = Field(default=8, ge=2)
    """Number of whole detectors of each family to which the table is fitted."""
    held_out: int = Field(default=3, ge=1)
    """Number of further detectors of each family on which the predictions are checked."""
    max_layers: int = Field(default=300, ge=10)
    """Largest number of single layers that are measured."""
    seed: int = Field(default=0, ge=0)
    """Seed of the draw of detectors and layers."""

    @field_validator("families")
    @classmethod
    def _check_families(cls, families: tuple[Family, ...]) -> tuple[Family, ...]:
        for family in families:
            if family.has_masks:
                raise ValueError(
                    f"no table predicts the latency of {family}: its mask head runs once for each "
                    "detection, whose number depends on the image; give families of boxes"
                )
        return families

    @field_validator("backbones")
    @classmethod
    def _check_backbones(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in PRESETS:
                raise ValueError(unknown("backbone", name, PRESETS))
        return names


class DeviceSpec(Spec):
    """A device: a machine with a runtime, on which latency is measured for one batch."""

    name: Name
    """Name of the device; no other device may have it."""
    runtime: RuntimeName = RuntimeName.ONNXRUNTIME
    """What runs the exported detector: onnxruntime, openvino, or torch."""
    precision: Precision = Precision.FP32
    """Numbers that detectors compute with: fp32, or int8 in onnxruntime and OpenVINO, where all
    parts of a detector compute in integers. An int8 export may keep some in 32 bits, because of its
    AP, and is slower then."""
    threads: int = Field(default=1, ge=1)
    """Number of threads of the runtime, which is also the number of CPUs that a measurement
    reserves."""
    batch: int = Field(default=1, ge=1)
    """Number of images that are detected at once. Latency is that of the whole batch."""
    gpu: bool = False
    """Whether the runtime uses the GPU of the machine; a measurement reserves one."""
    resource: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.:-]{1,63}$")
    """Custom Ray resource that only the node to be measured offers, as in `ray start
    --resources='{"jetson-1": 1}'`. Null: the machine of Ray's head node, which is that of the
    service unless it joined another cluster."""
    runs: int = Field(default=100, ge=100)
    """Number of timed passes of each measurement, after a warm-up."""
    table: TableSpec = TableSpec()
    """Detectors that the lookup table is measured with."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_runtime(self.runtime, self.precision, gpu=self.gpu)
        return self

    @property
    def round_to(self) -> int:
        """Multiple of channels that the device computes best."""
        return preferred_multiple(self.precision, gpu=self.gpu)
