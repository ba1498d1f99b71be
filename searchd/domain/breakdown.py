"""What lies behind one AP: the AP of each class, and the kinds of errors that cost the rest.
Standard library only."""

from dataclasses import dataclass
from enum import StrEnum

ERROR_IOU = 0.5
"""Smallest IoU of a hit, when the errors of a trial's detector are counted."""


class ErrorKind(StrEnum):
    """TIDE's six errors (DICOD, docs/papers.md 5.6); t is the foreground threshold.

    Attributes:
        CLASSIFICATION: Overlaps an object of another class by at least t.
        LOCALISATION: Overlaps an object of its class by at least 0.1, but less than t.
        BOTH: Overlaps objects of other classes only, and by less than t.
        DUPLICATE: Its object was already found by a detection with a higher score.
        BACKGROUND: Overlaps no object by more than 0.1.
        MISSED: An object that no detection matches, also after the repair of classification and
            localisation errors.
    """

    CLASSIFICATION = "classification"
    LOCALISATION = "localisation"
    BOTH = "both"
    DUPLICATE = "duplicate"
    BACKGROUND = "background"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFigures:
    """The errors of one kind."""

    count: int
    """Number of detections with this error; of objects for MISSED."""
    lost_ap: float
    """AP at IoU `ERROR_IOU` that repairing these errors alone would gain, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """A detector's AP on the validation split at one resolution, by class and by kind of error."""

    class_aps: dict[str, float]
    """COCO's AP of each class by its name, in [0, 1]; -1 of a class without objects."""
    errors: dict[ErrorKind, ErrorFigures]
    """Errors by kind, at IoU `ERROR_IOU`."""
    num_error_images: int
    """Number of images on which errors were counted."""
