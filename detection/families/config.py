"""Makes an mmdet `model` config from a `Detector`: family, backbone and preprocessing."""

from typing import Any

from detection.backbones import ArchitectureBackbone
from detection.families.one_stage import atss, fcos, gfl, retinanet, tood, vfnet
from detection.families.two_stage import (
    cascade_mask_rcnn,
    cascade_rcnn,
    faster_rcnn,
    mask_rcnn,
)
from searchd.domain.architecture import Architecture
from searchd.domain.detector import Detector, Family

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""ImageNet mean of R, G and B in 0-255."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet standard deviation of R, G and B in 0-255."""
SIZE_DIVISOR = 32
"""Height and width of a padded batch, in pixels, are multiples of this."""

_FAMILIES = {
    Family.FASTER_RCNN: faster_rcnn,
    Family.MASK_RCNN: mask_rcnn,
    Family.CASCADE_RCNN: cascade_rcnn,
    Family.CASCADE_MASK_RCNN: cascade_mask_rcnn,
    Family.RETINANET: retinanet,
    Family.FCOS: fcos,
    Family.ATSS: atss,
    Family.GFL: gfl,
    Family.VFNET: vfnet,
    Family.TOOD: tood,
}


def detector_config(detector: Detector) -> dict[str, Any]:
    """Return the mmdet `model` config of a detector, of plain dicts, lists and numbers.

    Neck, heads, and their training and test settings are mmdet's standard ones of the family. The
    backbone's type, `ArchitectureBackbone`, is registered by importing `detection.backbones`.
    """
    pads_masks = {"pad_mask": True} if detector.family.has_masks else {}
    return _FAMILIES[detector.family](detector) | {
        "data_preprocessor": preprocessor_config() | pads_masks,
        "backbone": backbone_config(detector.architecture),
    }


def preprocessor_config() -> dict[str, Any]:
    """Return the preprocessing of every detector of this project: RGB, normalised by the mean and
    standard deviation of ImageNet."""
    return {
        "type": "DetDataPreprocessor",
        "mean": list(PIXEL_MEAN),
        "std": list(PIXEL_STD),
        "bgr_to_rgb": False,
        "pad_size_divisor": SIZE_DIVISOR,
    }


def backbone_config(architecture: Architecture) -> dict[str, Any]:
    """Return the config of an `ArchitectureBackbone` with an architecture."""
    return {
        "type": ArchitectureBackbone.__name__,
        "kind": architecture.kind.value,
        "stem_channels": architecture.stem_channels,
        "stages": [
            [
                {
                    "channels": list(block.channels),
                    "stride": block.stride,
                    "shortcut": block.shortcut.value,
                    "groups": block.groups,
                    "deformable": block.deformable,
                }
                for block in blocks
            ]
            for blocks in architecture.stages
        ],
    }
