"""Compares an exported detector with the detector in torch, image by image.

Both compute in 32 bits, in another order, so their outputs differ by rounding. Where rounding moves
a box over a threshold (of the score, of the IoU in NMS, of the number of boxes), one side finds a
box that the other does not. Such a box is counted, and accepted where the threshold explains it.

Inside a two-stage detector are further steps that rounding can turn: which boxes the RPN proposes,
the level that a region is pooled from, and the number of RoIAlign's samples. Their effect cannot be
told from the detections, so a small share of these may differ for no visible reason.

An export with fewer bits finds something else by its nature. Its detections are compared and
counted with wider tolerances, and its AP decides.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from detection.deployment.exported import Found, Pixels, Runner
from searchd.domain.accuracy import ApKind
from searchd.domain.errors import ParityError
from searchd.domain.export_formats import Precision

MAX_UNEXPLAINED = 0.005
"""Largest share of a two-stage detector's detections that may differ for no visible
reason; one always may."""
AP_TOLERANCE = 0.001
"""Largest difference of AP in [0, 1]: 0.1 points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerances:
    """How far two outputs may differ that count as equal."""

    raw: float = math.inf
    """Largest difference of an output before any selection of boxes, over the larger of 1 and
    it."""
    detection: float
    """Largest difference of a score; of a coordinate, as a share of the box's longer side, or in
    pixels where that is more."""
    mask: float
    """Largest mean difference of a mask's probabilities, over the cells of its box."""


TOLERANCES: Mapping[Precision, Tolerances] = {
    Precision.FP32: Tolerances(raw=1e-4, detection=1e-3, mask=1e-3),
    Precision.FP16: Tolerances(detection=0.01, mask=0.01),
    Precision.INT8: Tolerances(detection=0.05, mask=0.05),
}
EXACT = TOLERANCES[Precision.FP32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where a detector selects boxes at its end."""

    score: float
    """Smallest score of a detection."""
    iou: float
    """Largest IoU of two detections of one class."""
    max_detections: int
    """Largest number of detections of an image."""
    has_regions: bool = False
    """Whether it is a two-stage detector."""
    tolerance: float = EXACT.detection
    """`Tolerances.detection` of the export."""
    mask_tolerance: float = EXACT.mask
    """`Tolerances.mask` of the export."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far the detections on images differ."""

    box: float = 0.0
    """Largest difference of a coordinate, in pixels of the input, of those that are equal."""
    score: float = 0.0
    """Largest difference of a score, of those that are equal."""
    mask: float = 0.0
    """Largest mean difference of a mask's probabilities, of those that are equal; 0 without
    masks."""
    num_detections: int = 0
    """Number of the detector's detections."""
    num_at_threshold: int = 0
    """Number of detections that one side has alone, explained by a threshold."""
    unexplained: tuple[str, ...] = ()
    """Each other difference, with its image, in words."""

    def joined(self, other: "Difference") -> "Difference":
        return Difference(
            box=max(self.box, other.box),
            score=max(self.score, other.score),
            mask=max(self.mask, other.mask),
            num_detections=self.num_detections + other.num_detections,
            num_at_threshold=self.num_at_threshold + other.num_at_threshold,
            unexplained=self.unexplained + other.unexplained,
        )


def raw_difference(
    expected: Runner, found: Runner, pixels: Pixels, image: str, tolerance: float = EXACT.raw
) -> float:
    """Return the largest relative difference of outputs before any selection of boxes.

    Args:
        expected: The detector in torch.
        found: The export.
        pixels: The input.
        image: Its name, for the message.
        tolerance: `Tolerances.raw` of the export.

    Raises:
        ParityError: It is above the tolerance or not a number, or an output has another shape.
    """
    largest = 0.0
    for number, (one, other) in enumerate(
        zip(expected.raw(pixels), found.raw(pixels), strict=True), start=1
    ):
        if one.shape != other.shape:
            raise ParityError(
                f"{image}: output {number} of the export has the shape {other.shape}, that of the "
                f"detector {one.shape}"
            )
        relative = np.abs(one - other) / np.maximum(1.0, np.abs(one))
        gap = float(relative.max(initial=0.0))
        if not gap <= tolerance:  # also if it is not a number
            raise ParityError(
                f"{image}: output {number} of the export differs from the detector's by {gap:.2g}, "
                f"at most {tolerance:g} is allowed"
            )
        largest = max(largest, gap)
    return largest


def difference(expected: Found, found: Found, thresholds: Thresholds, image: str) -> Difference:
    """Compare the detections on one image.

    Args:
        expected: What the detector finds in torch.
        found: What the export finds.
        thresholds: Those of the detector.
        image: Name of the image, for messages.
    """
    pairs, left, right = _matched(expected, found)
    differences = [
        *(_of_pair(expected, one, found, other, thresholds, image) for one, other in pairs),
        *(_alone(expected, found, one, thresholds, f"{image}: only the detector") for one in left),
        *(_alone(found, expected, one, thresholds, f"{image}: only the export") for one in right),
    ]
    return reduce(Difference.joined, differences, Difference(num_detections=len(expected.scores)))


def check_detections(found: Difference, thresholds: Thresholds) -> None:
    """Check that the detections on all compared images are equal.

    Raises:
        ParityError: A one-stage detector's differ for a reason other than a threshold, or more of a
            two-stage detector's than `MAX_UNEXPLAINED`. The message has the first difference.
    """
    allowed = max(1, int(MAX_UNEXPLAINED * found.num_detections)) if thresholds.has_regions else 0
    number = len(found.unexplained)
    if number > allowed:
        raise ParityError(
            f"{found.unexplained[0]} ({number} of {found.num_detections} detections differ, "
            f"{allowed} may)"
        )


def check_ap(expected: float, found: float, kind: ApKind = ApKind.BOX_AP) -> None:
    """Check that the AP of an export is that of its detector.

    Raises:
        ParityError: They differ by more than `AP_TOLERANCE`.
    """
    if not abs(expected - found) <= AP_TOLERANCE:
        raise ParityError(
            f"the export has {kind.words} {100 * found:.2f} % on the validation split, its "
            f"detector {100 * expected:.2f} %; at most {100 * AP_TOLERANCE:g} points are allowed"
        )


def check_ap_loss(expected: float, found: float, most: float, kind: ApKind = ApKind.BOX_AP) -> None:
    """Check that the AP of an export with fewer bits falls by no more than a limit.

    Args:
        expected: AP of the detector in [0, 1].
        found: AP of the export.
        most: The limit, in [0, 1].
        kind: Which AP it is.

    Raises:
        ParityError: It falls by more.
    """
    if not expected - found <= most:
        raise ParityError(
            f"the export has {kind.words} {100 * found:.2f} % on the validation split, its "
            f"detector {100 * expected:.2f} %; at most {100 * most:g} points may be lost "
            "(max_ap_loss)"
        )


def _matched(expected: Found, found: Found) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Return pairs of detections of one class with the largest overlaps, and those left alone."""
    overlaps = iou_matrix(expected.boxes, found.boxes)
    same = expected.labels[:, None] == found.labels[None]
    overlaps = np.where(same, overlaps, 0.0)
    pairs: list[tuple[int, int]] = []
    left, right = list(range(len(expected.scores))), list(range(len(found.scores)))
    for place in np.argsort(-overlaps, axis=None, kind="stable"):
        one, other = divmod(int(place), max(1, overlaps.shape[1]))
        if overlaps[one, other] <= 0.5:
            break
        if one in left and other in right:
            pairs.append((one, other))
            left.remove(one)
            right.remove(other)
    return pairs, left, right


def _is_at_threshold(mine: Found, other: Found, index: int, limits: Thresholds) -> bool:
    """Return whether rounding explains that the other side lacks a detection."""
    score, tolerance = float(mine.scores[index]), limits.tolerance
    if abs(score - limits.score) <= tolerance:
        return True
    is_full = len(other.scores) >= limits.max_detections
    if is_full and score - float(other.scores.min()) <= tolerance:
        return True
    return any(abs(overlap - limits.iou) <= tolerance for overlap in _overlaps(mine, other, index))


def _overlaps(mine: Found, other: Found, index: int) -> Iterator[float]:
    """Yield the IoUs of a detection with the other side's of its class."""
    same = other.labels == mine.labels[index]
    yield from iou_matrix(mine.boxes[index][None], other.boxes[same])[0].tolist()


def _alone(mine: Found, other: Found, index: int, thresholds: Thresholds, who: str) -> Difference:
    """Return the difference that a detection makes which the other side lacks."""
    if _is_at_threshold(mine, other, index, thresholds):
        return Difference(num_at_threshold=1)
    return Difference(unexplained=(f"{who} finds {_described(mine, index)}",))


def _of_pair(
    expected: Found, one: int, found: Found, other: int, thresholds: Thresholds, image: str
) -> Difference:
    """Return the difference of two detections that belong together."""
    box = float(np.abs(expected.boxes[one] - found.boxes[other]).max())
    score = float(abs(expected.scores[one] - found.scores[other]))
    mask = _mask_difference(expected, one, found, other)
    longer = float((expected.boxes[one][2:] - expected.boxes[one][:2]).max())
    tolerance = thresholds.tolerance
    is_equal = box <= tolerance * max(1.0, longer) and score <= tolerance
    if is_equal and mask <= thresholds.mask_tolerance:
        return Difference(box=box, score=score, mask=mask)
    of_masks = "" if expected.masks is None else f", their masks by {mask:.2g} on the mean"
    text = (
        f"{image}: the detector finds {_described(expected, one)}, the export "
        f"{_described(found, other)}: they differ by {box:.2g} pixels and {score:.2g} of "
        f"score{of_masks}"
    )
    return Difference(unexplained=(text,))  # also if one is not a number


def _mask_difference(expected: Found, one: int, found: Found, other: int) -> float:
    """Return the mean difference of two masks' probabilities; 0 of detectors of boxes."""
    if expected.masks is None:
        return 0.0
    assert found.masks is not None  # the graph of a detector of masks has them
    return float(np.abs(expected.masks[one] - found.masks[other]).mean())


def _described(found: Found, index: int) -> str:
    corners = ", ".join(f"{side:.2f}" for side in found.boxes[index])
    return f"class {found.labels[index]} at ({corners}) with score {found.scores[index]:.4f}"


def iou_matrix(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the IoU of each box of one list with each of another: n x m."""
    first, second = one.astype(np.float64)[:, None], other.astype(np.float64)[None]
    corners = (
        np.maximum(first[..., :2], second[..., :2]),
        np.minimum(first[..., 2:], second[..., 2:]),
    )
    inside = _area(*corners)
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - inside
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def _area(smallest: NDArray[np.float64], largest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the areas of boxes, ... x 2 and ... x 2; 0 where a side is negative."""
    areas: NDArray[np.float64] = np.clip(largest - smallest, 0, None).prod(axis=-1)
    return areas
