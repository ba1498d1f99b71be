"""What driver and workers hand each other about an export of a detector."""

from dataclasses import dataclass

from pydantic import JsonValue

from searchd.domain.detector import Detector
from searchd.domain.trial import Artifact
from searchd.messages.tasks import ComputeSettings
from searchd.spec.base import ResolutionText
from searchd.spec.dataset import DatasetSpec
from searchd.spec.exports import ExportSpec


class ExportTask(ComputeSettings):
    """The task of exporting a detector and comparing the export with it."""

    export: str
    """Id of the export."""
    spec: ExportSpec
    detector: Detector
    student: Artifact
    """The whole detector as safetensors."""
    dataset: DatasetSpec
    resolution: ResolutionText
    """Resolution at which the detector has its best score. An export with a dynamic input is
    compared and measured at it."""
    facts: dict[str, JsonValue]
    """What the model card tells of the detector's origin, by heading."""
    licence: str | None = None
    """Licence of the weights that the base started from; None: unknown."""
    artifacts: str
    """URI of the folder that this attempt writes to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportMeasurement:
    """What was measured of an exported detector. APs are COCO's, in [0, 1]: of boxes, unless they
    are named as of masks."""

    num_compared: int
    """Number of validation images on which it was compared with the detector in torch."""
    raw_difference: float
    """Largest difference of outputs before any selection of boxes, over the larger of 1 and the
    output."""
    box_difference: float
    """Largest difference of a coordinate of equal boxes after NMS, in pixels of the input. Which
    boxes are equal depends on the precision."""
    score_difference: float
    """Largest difference of a score of equal boxes."""
    num_detections: int
    """Number of detections that were compared."""
    num_at_threshold: int
    """Number of detections that only one of the two has, because the other's lie on the other side
    of a threshold by rounding."""
    num_unexplained: int
    """Number of detections that differ by more than the precision's tolerance: of a two-stage
    detector in fp32, because rounding turned a step inside it."""
    ap: float
    """AP of the export on the validation split."""
    torch_ap: float
    """AP of the detector in torch on the same images."""
    size_bytes: int
    """Size of the exported file, with the files that it needs."""
    resolution: ResolutionText
    """Size that the images were resized to, and of which latency was measured."""
    latency_s: float
    """Median seconds for one image, from the input tensor to boxes (and masks)."""
    latency_p95_s: float
    """Seconds that 95 % of the passes needed at most."""
    num_timed: int
    """Number of timed passes."""
    device: str
    """Hardware that latency was measured on, with the number of threads, in words."""
    software: str
    """Runtime and version, in words."""
    mask_difference: float | None = None
    """Largest difference of the masks of equal detections: the mean over the cells of the box of
    the difference in probability. None: the detector finds boxes alone, as in the next two."""
    mask_ap: float | None = None
    """Mask AP of the export on the validation split."""
    torch_mask_ap: float | None = None
    """Mask AP of the detector in torch on the same images."""
    kept: tuple[str, ...] = ()
    """Parts of an int8 detector that compute in 32 bits, because AP fell by more than the limit
    otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """The report on an export."""

    files: tuple[Artifact, ...]
    """The exported file and what belongs to it."""
    measurement: ExportMeasurement
