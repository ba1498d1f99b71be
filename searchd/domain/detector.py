"""A detector as a value: everything needed to build it, without weights. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from searchd.domain.architecture import STAGE_STRIDES, Architecture
from searchd.domain.errors import InvalidValueError

TWO_STAGE_STRIDES = (*STAGE_STRIDES, 64)
"""Strides of the FPN levels P2 to P6, which a two-stage detector uses."""
ONE_STAGE_STRIDES = (*STAGE_STRIDES[1:], 64, 128)
"""Strides of the FPN levels P3 to P7, which a one-stage detector uses."""


class Family(StrEnum):
    """Detector family. Every family has an FPN (docs/papers.md 0.1).

    Attributes:
        FASTER_RCNN: Two-stage, with an RPN on P2 to P6 and a RoI head on P2 to P5.
        MASK_RCNN: Faster R-CNN with a mask head, which finds the pixels of each object in its box.
        CASCADE_RCNN: Faster R-CNN with three successive RoI heads, trained at IoU .5, .6 and .7.
        CASCADE_MASK_RCNN: Cascade R-CNN with a mask head for each RoI head; a mask is their mean.
        RETINANET: One-stage, with nine anchors per cell of P3 to P7.
        FCOS: One-stage and anchor-free, with one point per cell of P3 to P7.
        ATSS: One-stage, with one anchor per cell of P3 to P7; an object's own anchors decide from
            which overlap on they are trained to find it.
        GFL: As ATSS, with the overlap in its class scores, and a distribution over distances for
            each side of a box.
        VFNET: As ATSS, with the overlap in its class scores; a first box says where the features
            are sampled from which the final box and the scores are predicted.
        TOOD: One tower for classes and boxes, with one anchor per cell of P3 to P7; after its first
            epochs an object trains those anchors whose score and box fit it best.
    """

    FASTER_RCNN = "faster_rcnn"
    MASK_RCNN = "mask_rcnn"
    CASCADE_RCNN = "cascade_rcnn"
    CASCADE_MASK_RCNN = "cascade_mask_rcnn"
    RETINANET = "retinanet"
    FCOS = "fcos"
    ATSS = "atss"
    GFL = "gfl"
    VFNET = "vfnet"
    TOOD = "tood"

    @property
    def two_stage(self) -> bool:
        """Whether the detector proposes regions (RPN) and then classifies them (RoI heads)."""
        return self in (Family.FASTER_RCNN, Family.MASK_RCNN) or self.is_cascade

    @property
    def is_cascade(self) -> bool:
        """Whether several RoI heads refine each other's boxes."""
        return self in (Family.CASCADE_RCNN, Family.CASCADE_MASK_RCNN)

    @property
    def has_masks(self) -> bool:
        """Whether the detector finds masks, and is trained on them."""
        return self in (Family.MASK_RCNN, Family.CASCADE_MASK_RCNN)


DEFAULT_ANCHOR_SCALES = {
    Family.FASTER_RCNN: 8.0,
    Family.MASK_RCNN: 8.0,
    Family.CASCADE_RCNN: 8.0,
    Family.CASCADE_MASK_RCNN: 8.0,
    Family.RETINANET: 4.0,
    Family.FCOS: 8.0,
    Family.ATSS: 8.0,
    Family.GFL: 8.0,
    Family.VFNET: 8.0,
    Family.TOOD: 8.0,
}
"""Default of `Detector.anchor_scale` for each family, as in mmdet's configs."""
DEFAULT_TOWER_CONVS = {Family.VFNET: 3, Family.TOOD: 6}
"""Default of `Detector.tower_convs` for the families in which it is not 4, as in mmdet's
configs."""
SMALLEST_TOOD_TOWER = 8
"""TOOD weighs the maps of its tower by a layer of an eighth of the tower's channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """A detector: a backbone with a neck and a head. Defaults are the papers' (docs/papers.md 0.1).

    A family ignores the fields that do not apply to it: head_channels, finest_roi_scale and
    num_proposals apply to two-stage detectors only, mask_channels to detectors of masks only,
    tower_channels and tower_convs to one-stage detectors only.
    """

    architecture: Architecture
    """The backbone."""
    num_classes: int = 80
    """Number of object classes, without background."""
    family: Family = Family.FASTER_RCNN
    """Kind of head."""
    neck_channels: int = 256
    """Channels of every FPN level."""
    head_channels: int = 1024
    """Width of the two fully connected layers of each RoI head."""
    mask_channels: int = 256
    """Channels of the five layers of a mask head before its prediction."""
    tower_channels: int = 256
    """Channels of the convolutions of a one-stage head."""
    tower_convs: int | None = None
    """Number of 3x3 convolutions in the classification tower, and in the box tower, of a one-stage
    head; of TOOD, in its one tower. None: the family's default (`DEFAULT_TOWER_CONVS`, else 4)."""
    anchor_scale: float | None = None
    """Size of the objects that a level detects, as a multiple of the level's stride. Two-stage: the
    side of the square anchor, as for ATSS, GFL, VFNet and TOOD. RetinaNet: the side of the smallest
    of the three square anchors.
    FCOS: the largest distance from a point to a side of its box, beyond which the next level is
    responsible. None: the family's default (`DEFAULT_ANCHOR_SCALES`)."""
    finest_roi_scale: int = 56
    """RoIs with sqrt(area) below twice this number of pixels are pooled from P2."""
    num_proposals: int = 1000
    """Largest number of proposals per image that the RoI head reads at test time."""
    sampled_rois: int = 512
    """RoIs per image, at most a quarter of them positive, that the RoI head is trained on. A
    student of any family is compared with its teacher on as many regions."""

    def __post_init__(self) -> None:
        for name in (
            "num_classes",
            "neck_channels",
            "head_channels",
            "mask_channels",
            "tower_channels",
            "tower_convs",
            "finest_roi_scale",
            "num_proposals",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidValueError(f"{name}={value} must be at least 1")
        if self.sampled_rois < 4:
            raise InvalidValueError(
                f"sampled_rois={self.sampled_rois} must be at least 4, so that one may be positive"
            )
        if self.anchor_scale is not None and self.anchor_scale <= 0:
            raise InvalidValueError(f"anchor_scale={self.anchor_scale} must be positive")
        check_tower(self.family, self.tower_channels)

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the FPN levels. The RPN or the one-stage head reads all of them."""
        return TWO_STAGE_STRIDES if self.family.two_stage else ONE_STAGE_STRIDES

    @property
    def level_scale(self) -> float:
        """`anchor_scale`, or the family's default where it is None."""
        if self.anchor_scale is None:
            return DEFAULT_ANCHOR_SCALES[self.family]
        return self.anchor_scale

    @property
    def num_tower_convs(self) -> int:
        """`tower_convs`, or the family's default where it is None."""
        if self.tower_convs is None:
            return DEFAULT_TOWER_CONVS.get(self.family, 4)
        return self.tower_convs

    @property
    def head_shape(self) -> tuple[int, ...]:
        """The numbers that determine the head's shapes, apart from classes, neck and family."""
        if self.family.has_masks:
            return (self.head_channels, self.mask_channels)
        if self.family.two_stage:
            return (self.head_channels,)
        return (self.tower_channels, self.num_tower_convs)


def check_tower(family: Family, channels: int) -> None:
    """Check that the tower of a head is wide enough.

    Raises:
        InvalidValueError: It is a TOOD's, with fewer channels than `SMALLEST_TOOD_TOWER`.
    """
    if family is Family.TOOD and channels < SMALLEST_TOOD_TOWER:
        raise InvalidValueError(
            f"tower_channels={channels} is too few for a tood, which weighs the maps of its tower "
            f"by an eighth of its channels; give at least {SMALLEST_TOOD_TOWER}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MmdetDetector:
    """A detector that is described by a config shipped with mmdet.

    It covers what `Detector` cannot describe, for use as a teacher or a reference: SSD, Faster
    R-CNN without FPN (C4, DC5), transformers, and others.
    """

    config: str
    """Name of the shipped config, such as "ssd300_coco". A folder and ".py" are allowed."""
    num_classes: int = 80
    """Number of object classes, without background."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Values that replace those of the config's `model`, by dotted key, such as
    {"backbone.depth": 18}. A number in a key is the index of a list item, as in
    "bbox_head.0.fc_out_channels"."""

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise InvalidValueError(f"num_classes={self.num_classes} must be at least 1")
