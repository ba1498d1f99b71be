"""What a trial's detector detects on a few images of the validation split, for people to look at.
Stored as JSON beside its weights."""

from dataclasses import dataclass

from searchd.domain.resolution import Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedBox:
    """One detection."""

    class_name: str
    score: float
    """In [0, 1]."""
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels of the image as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedImage:
    """The best detections on one image."""

    path: str
    """Path of the image file."""
    boxes: tuple[PredictedBox, ...]
    """By descending score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePredictions:
    """The detections of one detector on sample images."""

    resolution: Resolution
    """Resolution at which it detected."""
    images: tuple[PredictedImage, ...]
