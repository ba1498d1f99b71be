"""Responses of the API about what lies behind an AP: classes, errors, detections on samples."""

from api.schemas.base import Schema
from api.schemas.resources import SampleObject
from searchd.domain.breakdown import ErrorFigures, ErrorKind
from searchd.messages.predictions import PredictedBox
from searchd.spec import ResolutionText


class Breakdown(Schema):
    """The AP of a detector at one resolution, by class and by kind of error (TIDE)."""

    resolution: ResolutionText
    """Input resolution of the evaluation, "WxH" in pixels."""
    class_aps: dict[str, float]
    """COCO box AP of each class in [0, 1]; -1 if the validation split has no object of it."""
    errors: dict[ErrorKind, ErrorFigures]
    """Errors by kind at IoU .50: their number, and the AP that repairing them would gain."""
    num_error_images: int
    """Number of images of the validation split on which errors were counted."""


class SamplePrediction(Schema):
    """A sample image of the data set with what is in it and what a detector finds."""

    sample: int
    """Number of the sample in its data set, as in the path of its image."""
    width: int
    """Width of the image as shown, in pixels."""
    height: int
    """Height of the image as shown, in pixels."""
    objects: list[SampleObject]
    """Objects of the image, at most the first 300."""
    detections: list[PredictedBox]
    """Best detections, by descending score; boxes are x, y, width and height, in pixels."""


class Predictions(Schema):
    """Detections of a detector on sample images of the validation split."""

    trial_id: str
    """Id of the trial that trained the detector."""
    dataset_id: str
    """Id of the data set with the sample images."""
    resolution: ResolutionText
    """Input resolution at which the detector saw the images, "WxH" in pixels."""
    images: list[SamplePrediction]
    """Sample images that the data set still has; empty if its samples have changed since."""
