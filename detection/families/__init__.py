"""Makes mmdet's standard config of a detector family from a `Detector` value."""

from detection.families.config import (
    PIXEL_MEAN,
    PIXEL_STD,
    SIZE_DIVISOR,
    backbone_config,
    detector_config,
    preprocessor_config,
)
from detection.families.deformable_batches import use_any_batch

use_any_batch()

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_STD",
    "SIZE_DIVISOR",
    "backbone_config",
    "detector_config",
    "preprocessor_config",
]
