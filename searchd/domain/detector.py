"""A detector as a value: everything needed to build it, no weights. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from searchd.domain.architecture import STAGE_STRIDES, Architecture
from searchd.domain.errors import InvalidValueError

TWO_STAGE_STRIDES = (*STAGE_STRIDES, 64)
"""Strides of P2..P6."""
ONE_STAGE_STRIDES = (*STAGE_STRIDES[1:], 64, 128)
"""Strides of P3..P7."""


class Family(StrEnum):
    """Detector family; each has an FPN (docs/papers.md 0.1).

    Attributes:
        FASTER_RCNN: Two stages; RPN on P2..P6, RoI heads on P2..P5.
        CASCADE_RCNN: Faster R-CNN with three RoI heads in a row, at IoU .5, .6 and .7.
        RETINANET: One stage with anchors, nine per cell of P3..P7.
        FCOS: One stage without anchors, one point per cell of P3..P7.
    """

    FASTER_RCNN = "faster_rcnn"
    CASCADE_RCNN = "cascade_rcnn"
    RETINANET = "retinanet"
    FCOS = "fcos"

    @property
    def two_stage(self) -> bool:
        """Whether it proposes regions first (RPN) and classifies them afterwards (RoI heads)."""
        return self in (Family.FASTER_RCNN, Family.CASCADE_RCNN)


DEFAULT_ANCHOR_SCALES = {
    Family.FASTER_RCNN: 8.0,
    Family.CASCADE_RCNN: 8.0,
    Family.RETINANET: 4.0,
    Family.FCOS: 8.0,
}
"""Each family's own `Detector.anchor_scale`, as in mmdet's configs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector around a backbone. Defaults are the papers' (docs/papers.md 0.1).

    A family ignores the fields that it has no use for: head_channels, finest_roi_scale,
    num_proposals belongs to two-stage detectors, tower_channels and tower_convs to
    one-stage detectors.
    """

    architecture: Architecture
    num_classes: int = 80
    family: Family = Family.FASTER_RCNN
    neck_channels: int = 256
    """Channels of every FPN level."""
    head_channels: int = 1024
    """Width of the two fully connected layers of each RoI head."""
    tower_channels: int = 256
    """Width of the convolutions of a one-stage head."""
    tower_convs: int = 4
    """3x3 convolutions before the prediction, in each of the classification and the box tower."""
    anchor_scale: float | None = None
    """The size of objects that a level is for, over the level's stride; None for the family's own
    (`DEFAULT_ANCHOR_SCALES`). Two-stage: the side of the square anchor. RetinaNet: that of the
    smallest of the three square anchors. FCOS: the largest distance from a point to a side of its
    box, which is where the next level takes over."""
    finest_roi_scale: int = 56
    """RoIs with sqrt(area) below twice this many pixels are pooled from P2."""
    num_proposals: int = 1000
    """Proposals per image that reach the RoI head at test time."""
    sampled_rois: int = 512
    """RoIs per image, a quarter of them positive at most, that the RoI head trains on, and on which
    a student of any family is compared with its teacher."""

    def __post_init__(self) -> None:
        for name in (
            "num_classes",
            "neck_channels",
            "head_channels",
            "tower_channels",
            "tower_convs",
            "finest_roi_scale",
            "num_proposals",
        ):
            if getattr(self, name) < 1:
                raise InvalidValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.sampled_rois < 4:
            raise InvalidValueError(
                f"sampled_rois={self.sampled_rois} must be at least 4, so that one may be positive"
            )
        if self.anchor_scale is not None and self.anchor_scale <= 0:
            raise InvalidValueError(f"anchor_scale={self.anchor_scale} must be positive")

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the FPN levels, which are all read by the RPN or the one-stage head."""
        return TWO_STAGE_STRIDES if self.family.two_stage else ONE_STAGE_STRIDES

    @property
    def level_scale(self) -> float:
        """`anchor_scale`, or the family's own."""
        if self.anchor_scale is None:
            return DEFAULT_ANCHOR_SCALES[self.family]
        return self.anchor_scale

    @property
    def head_shape(self) -> tuple[int, ...]:
        """The numbers that give the head its shapes, besides classes, neck and family."""
        if self.family.two_stage:
            return (self.head_channels,)
        return (self.tower_channels, self.tower_convs)


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdetDetector:
    """A detector of mmdet's own, as a config that is shipped with mmdet describes it.

    For what no `Detector` describes: SSD, Faster R-CNN without FPN (C4, DC5), transformers, and
    whatever else may serve as a teacher or a reference.
    """

    config: str
    """Name of the shipped config, as "ssd300_coco"; a folder and ".py" may be written too."""
    num_classes: int = 80
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Values that replace those of the config's `model`, by dotted key, as {"backbone.depth": 18};
    numbers count list items, as in "bbox_head.0.fc_out_channels"."""

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise InvalidValueError(f"num_classes={self.num_classes} must be at least 1")
