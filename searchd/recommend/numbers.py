"""The numbers of a recommendation that follow from the data set and the machine alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution

SIDE_STEP = 32
"""Sides of a resolution are multiples of this number of pixels, the stride of the last stage."""
SMALLEST_SIDE, LARGEST_SIDE = 96, 800
"""Limits of the short side of a recommended resolution, in pixels."""
SMALL_BOX_PX = 16.0
"""Short side, in pixels of the resized image, that nine of ten boxes should reach: four cells of
the finest feature level, whose stride is 4."""
FINEST_STRIDE = 4
PUBLISHED_ANCHOR_SCALE, PUBLISHED_ROI_SCALE = 8, 56
"""mmdet's anchor scale and finest RoI scale, for COCO at 1333x800."""

_OUTDATED = (
    "the data set was checked by an earlier version, without the statistics that a recommendation "
    "needs; check it again (searchd dataset recheck)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What the recommendation needs to know of a data set."""

    train_images: int
    validation_images: int
    classes: int
    image_width: float
    """Median width of the train images in pixels."""
    image_height: float
    """Median height of the train images in pixels."""
    small_box_share: float
    """Short side that nine of ten boxes exceed, divided by the short side of their image."""
    most_objects: int
    """Largest number of objects in one train image."""

    @classmethod
    def of(cls, statistics: Mapping[str, Any] | None) -> Self:
        """Read the statistics that the check of a data set reports.

        Raises:
            InvalidValueError: There are no boxes to train on, or no statistics that are needed.
        """
        if statistics is None:
            raise InvalidValueError(_OUTDATED)
        train, validation = (statistics["splits"][name] for name in ("train", "validation"))
        boxes = train["box_short_side_share"]
        if boxes is None:
            raise InvalidValueError("the train split has no boxes; nothing can be recommended")
        if "p10" not in boxes:
            raise InvalidValueError(_OUTDATED)
        return cls(
            train_images=train["images"],
            validation_images=validation["images"],
            classes=len(statistics["classes"]),
            image_width=train["image_width_px"]["median"],
            image_height=train["image_height_px"]["median"],
            small_box_share=boxes["p10"],
            most_objects=train["most_objects_in_an_image"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the machine or the cluster has."""

    cpus: int
    gpus: int = 0

    @property
    def trials_in_flight(self) -> int:
        """One trial per GPU; two on CPUs, which a small detector uses better than one would."""
        return self.gpus or min(2, self.cpus)

    @property
    def cpus_per_trial(self) -> int:
        """CPUs of each trial, which also decode its images."""
        return max(1, self.cpus // self.trials_in_flight)


def resolutions(data: DataFacts) -> tuple[Resolution, ...]:
    """Return the resolutions to consider, best first.

    The first is the smallest at which nine of ten boxes have a short side of `SMALL_BOX_PX`, but
    not larger than the images. Each next one has sides about a fifth smaller.
    """
    short, long = sorted((data.image_width, data.image_height))
    whole = SIDE_STEP * int(min(short, LARGEST_SIDE) // SIDE_STEP)
    side = max(SMALLEST_SIDE, min(_multiple(SMALL_BOX_PX / data.small_box_share), whole))
    found = []
    while True:
        found.append(_with_short_side(side, long / short))
        if side <= SMALLEST_SIDE:
            return tuple(found)
        side = max(SMALLEST_SIDE, min(side - SIDE_STEP, _multiple(0.8 * side)))


def smaller(resolution: Resolution) -> Resolution:
    """Return the resolution that is trained beside the largest: sides about a quarter smaller."""
    short, long = resolution.height, resolution.width
    return _with_short_side(max(64, min(short - SIDE_STEP, _multiple(0.75 * short))), long / short)


def anchor_scale(data: DataFacts, resolution: Resolution) -> int:
    """Return the anchor scale: the smallest anchor is about as large as the small boxes."""
    small_px = data.small_box_share * resolution.height
    fitting = [s for s in (2, 4, PUBLISHED_ANCHOR_SCALE) if FINEST_STRIDE * s <= 1.5 * small_px]
    return fitting[-1] if fitting else 2


def sampled_rois(data: DataFacts, *, most: int) -> int:
    """Return the number of RoIs that each image is trained on: 8 per object of the fullest image,
    as a power of two."""
    return _power_of_two(8 * data.most_objects, 64, most)


def batch_size(data: DataFacts, *, most: int) -> int:
    """Return the batch size: a power of two with at least 40 steps per epoch."""
    return _power_of_two(data.train_images // 40, 2, most)


def _with_short_side(side: int, ratio: float) -> Resolution:
    long = min(1333, max(side, SIDE_STEP * round(side * ratio / SIDE_STEP)))
    return Resolution(long, side)


def _multiple(side: float) -> int:
    return SIDE_STEP * -(-round(side) // SIDE_STEP)


def _power_of_two(wanted: int, least: int, most: int) -> int:
    power = least
    while power * 2 <= min(wanted, most):
        power *= 2
    return power


def duration(seconds: float) -> str:
    """Return a time as the reasons and tables show it: "80 s", "25 min"."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
