"""Makes mmdet's standard config of a detector family from a `Detector` value."""

from detection.families.config import (
    PIXEL_MEAN,
    PIXEL_STD,
    SIZE_DIVISOR,
    backbone_config,
    detector_config,
    preprocessor_config,
)

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_STD",
    "SIZE_DIVISOR",
    "backbone_config",
    "detector_config",
    "preprocessor_config",
]
