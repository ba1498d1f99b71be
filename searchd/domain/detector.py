"""A detector as a value: everything needed to build it, no weights. Standard library only."""

from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.architecture import Architecture
from searchd.domain.errors import InvalidValueError


class Family(StrEnum):
    """Detector family.

    Attributes:
        FASTER_RCNN: Two stages with FPN; RPN on P2..P6, RoI heads on P2..P5.
    """

    FASTER_RCNN = "faster_rcnn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector around a backbone. Defaults are the papers' (papers.md 0.1)."""

    architecture: Architecture
    num_classes: int = 80
    family: Family = Family.FASTER_RCNN
    neck_channels: int = 256
    """Channels of every FPN level."""
    head_channels: int = 1024
    """Width of the two fully connected layers of the RoI head."""
    anchor_scale: float = 8.0
    """Anchor side over the level's stride."""
    finest_roi_scale: int = 56
    """RoIs with sqrt(area) below twice this many pixels are pooled from P2."""
    num_proposals: int = 1000
    """Proposals per image that reach the RoI head at test time."""
    sampled_rois: int = 512
    """RoIs per image, a quarter of them positive at most, that the RoI head trains on."""

    def __post_init__(self) -> None:
        for name in (
            "num_classes",
            "neck_channels",
            "head_channels",
            "finest_roi_scale",
            "num_proposals",
        ):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.sampled_rois < 4:
            raise InvalidValueError(
                f"sampled_rois={self.sampled_rois} must be at least 4, so that one may be positive"
            )
        if self.anchor_scale <= 0:
            raise InvalidValueError(f"anchor_scale={self.anchor_scale} must be positive")
