"""What the numbers of a detector's head mean, beside their shapes. Standard library only.

Two heads of the same shapes can have other anchors, or predict boxes in other units: their weights
and outputs then say other things, and no copy or comparison of them fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from searchd.domain.detector import Detector, Family

RATIOS = (0.5, 1.0, 2.0)
"""Heights of a level's anchors over their widths."""
OCTAVES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
"""Sizes of RetinaNet's anchors of one ratio, over the smallest."""
REGION_SIZE = 7
"""Cells along each side of a region, where detectors are compared."""
MASK_REGION_SIZE = 14
"""Cells along each side of a region, where a mask head reads it. It predicts twice as many."""
MASK_CONVS = 4
"""Number of 3x3 convolutions of a mask head, before the one that doubles its cells."""
DENSE_UNITS = (0.0,) * 4 + (1.0,) * 4
"""Means and standard deviations of the box deltas of an RPN and of RetinaNet."""
LARGEST_DISTANCE = 16
"""Largest distance from a point to a side of its box, in strides, in the distributions of GFL."""
STAGE_STDS = (
    (0.1, 0.1, 0.2, 0.2),
    (0.05, 0.05, 0.1, 0.1),
    (0.033, 0.033, 0.067, 0.067),
)
"""Standard deviations of the box deltas (x, y, w, h) of the stages of Cascade R-CNN; Faster and
Mask R-CNN have the first, and so has ATSS."""
_ONE_SQUARE = frozenset({Family.ATSS, Family.GFL, Family.VFNET, Family.TOOD})
"""Families with one square anchor in each cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadGeometry:
    """The geometry of a head. Lengths are pixels of the input, rounded to 0.01."""

    anchors: tuple[tuple[float, float], ...] = ()
    """Width and height of every anchor of one cell of each level, level by level. Empty: points."""
    ranges: tuple[float, ...] = ()
    """Largest distance from a point to its box's sides on each level but the last; for VFNet, the
    unit of the distances there. Empty: no level has such a length."""
    dense_units: tuple[float, ...] = ()
    """Four means and four standard deviations of the deltas that the RPN or the one-stage head
    predicts. Empty: distances, which have none."""
    largest_distance: int | None = None
    """Largest distance from a point to a side of its box, in strides, of a head that predicts a
    distribution over 0, 1, 2, ... strides for each side. None: it predicts none."""
    roi_units: tuple[float, ...] = ()
    """The same of the RoI head's deltas, eight for each stage. Empty: no RoI head."""
    class_agnostic: bool = False
    """Whether the RoI head predicts one box for all classes."""
    region_size: int = REGION_SIZE
    """Cells along each side of a region, as the RoI head reads it, or as the features of a
    one-stage detector are compared."""
    finest_roi_scale: int | None = None
    """As `Detector.finest_roi_scale`. None: no RoI head."""
    other_scores: int = 1
    """Class scores of the RoI head that are of no class: the background's."""
    mask_region_size: int | None = None
    """Cells along each side of a region, as the mask head reads it. None: it finds no masks."""


def geometry(detector: Detector) -> HeadGeometry:
    """Return the geometry of a detector's head."""
    if detector.family is Family.FCOS:
        return HeadGeometry(ranges=_ranges(detector))
    anchors = tuple(_anchors(detector))
    if not detector.family.two_stage:
        return _one_stage(detector, anchors)
    is_cascade = detector.family.is_cascade
    stages = STAGE_STDS if is_cascade else STAGE_STDS[:1]
    return HeadGeometry(
        anchors=anchors,
        dense_units=DENSE_UNITS,
        roi_units=tuple(unit for stds in stages for unit in (0.0, 0.0, 0.0, 0.0, *stds)),
        class_agnostic=is_cascade,
        finest_roi_scale=detector.finest_roi_scale,
        mask_region_size=MASK_REGION_SIZE if detector.family.has_masks else None,
    )


def _one_stage(detector: Detector, anchors: tuple[tuple[float, float], ...]) -> HeadGeometry:
    match detector.family:
        case Family.GFL:
            return HeadGeometry(anchors=anchors, largest_distance=LARGEST_DISTANCE)
        case Family.VFNET:
            return HeadGeometry(anchors=anchors, ranges=_ranges(detector))
        case Family.TOOD:  # distances in strides
            return HeadGeometry(anchors=anchors)
        case Family.ATSS:
            return HeadGeometry(anchors=anchors, dense_units=(0.0,) * 4 + STAGE_STDS[0])
        case _:
            return HeadGeometry(anchors=anchors, dense_units=DENSE_UNITS)


def _ranges(detector: Detector) -> tuple[float, ...]:
    return tuple(round(detector.level_scale * stride, 2) for stride in detector.strides[:-1])


def _anchors(detector: Detector) -> Iterator[tuple[float, float]]:
    octaves = OCTAVES if detector.family is Family.RETINANET else OCTAVES[:1]
    ratios = (1.0,) if detector.family in _ONE_SQUARE else RATIOS
    for stride in detector.strides:
        for ratio in ratios:
            for octave in octaves:
                side = detector.level_scale * stride * octave
                yield round(side / sqrt(ratio), 2), round(side * sqrt(ratio), 2)


def difference(
    student: HeadGeometry | None, teacher: HeadGeometry | None, *parts: str
) -> str | None:
    """Return how the geometry of two heads differs, as words; None if it does not, or if one is
    not known.

    Args:
        student: Geometry of the student's head.
        teacher: Geometry of the teacher's head.
        parts: Names of the fields that are compared; none given: all.
    """
    if student is None or teacher is None:
        return None
    for part in parts or tuple(_WORDS):
        ours, theirs = getattr(student, part), getattr(teacher, part)
        if ours != theirs:
            return f"{_WORDS[part]}: {_shown(ours, theirs)}"
    return None


_WORDS = {
    "anchors": "anchors (width, height in pixels)",
    "ranges": "distances of the levels in pixels",
    "dense_units": "means and deviations of the first stage's box deltas",
    "roi_units": "means and deviations of the RoI head's box deltas",
    "class_agnostic": "one box for all classes",
    "largest_distance": "strides of the longest distance in a distribution",
    "region_size": "cells along a region's side",
    "finest_roi_scale": "pixels of the finest RoI scale",
    "mask_region_size": "cells along the side of a mask's region",
    "other_scores": "class scores of the RoI head beside those of the classes",
}


def _shown(ours: object, theirs: object) -> str:
    """Return the first place where two values differ."""
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        if len(ours) != len(theirs):
            return f"{len(ours)} of the student, {len(theirs)} of the teacher"
        ours, theirs = next(pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1])
    return f"{ours} of the student, {theirs} of the teacher"
