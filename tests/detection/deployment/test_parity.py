"""What counts as the same detections, and what a difference is called."""

import re
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detection.deployment.exported import Found, Pixels
from detection.deployment.parity import (
    Difference,
    Thresholds,
    check_ap,
    check_detections,
    difference,
    iou_matrix,
    raw_difference,
)
from searchd.domain.errors import ParityError

LIMITS = Thresholds(score=0.05, iou=0.5, max_detections=3)
BOX = [10.0, 10.0, 50.0, 30.0]


def with_masks(found: Found, probability: float) -> Found:
    """The same detections, with masks of one probability."""
    masks = np.full((len(found.scores), 4, 4), probability, dtype=np.float32)
    return replace(found, masks=masks)


def found(*rows: tuple[list[float], float, int]) -> Found:
    return Found(
        boxes=np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4),
        scores=np.array([row[1] for row in rows], dtype=np.float32),
        labels=np.array([row[2] for row in rows], dtype=np.int64),
    )


class Raw:
    """A runner of which only the raw outputs are looked at."""

    software = "none"

    def __init__(self, *outputs: NDArray[np.float32]) -> None:
        self.outputs = list(outputs)

    def detect(self, _: Pixels) -> Found:
        raise NotImplementedError

    def raw(self, _: Pixels) -> list[NDArray[np.float32]]:
        return self.outputs


PIXELS = np.zeros((1, 3, 4, 4), dtype=np.float32)


def test_rounding_is_measured_and_accepted_in_any_order() -> None:
    one = found((BOX, 0.9, 0), ([0.0, 0.0, 8.0, 8.0], 0.9, 1))
    other = found(([0.0, 0.0, 8.0, 8.0], 0.9, 1), ([10.0, 10.0, 50.03, 30.0], 0.9005, 0))

    seen = difference(one, other, LIMITS, "a.png")

    assert seen.box == pytest.approx(0.03, abs=1e-5)
    assert seen.score == pytest.approx(0.0005, abs=1e-6)
    assert (seen.num_detections, seen.num_at_threshold, seen.unexplained) == (2, 0, ())


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (
            found(([10.0, 10.0, 50.1, 30.0], 0.9, 0)),
            r"a.png: the detector finds class 0 at \(10.00, 10.00, 50.00, 30.00\) with score "
            r"0.9000, the export class 0 at \(10.00, 10.00, 50.10, 30.00\).*: they differ by 0.1 "
            "pixels",
        ),
        (found((BOX, 0.902, 0)), "a.png: .* they differ by 0 pixels and 0.002 of score"),
        (found((BOX, float("nan"), 0)), "a.png: .* they differ by 0 pixels and nan of score"),
        (found((BOX, 0.9, 1)), "a.png: only the detector finds class 0 at"),
        (found(), "a.png: only the detector finds class 0 at"),
        (
            found((BOX, 0.9, 0), ([100.0, 0.0, 120.0, 30.0], 0.4, 0)),
            r"a.png: only the export finds class 0 at \(100.00, 0.00, 120.00, 30.00\) with score",
        ),
    ],
    ids=["box", "score", "not a number", "class", "missing", "further"],
)
def test_what_differs_is_told_with_the_image(other: Found, text: str) -> None:
    seen = difference(found((BOX, 0.9, 0)), other, LIMITS, "a.png")

    assert re.match(text, seen.unexplained[0])
    assert (seen.box, seen.score, seen.num_at_threshold) == (0, 0, 0)
    with pytest.raises(ParityError, match=text):
        check_detections(seen, LIMITS)


def test_masks_are_compared_by_the_mean_of_their_cells() -> None:
    one, other = with_masks(found((BOX, 0.9, 0)), 0.75), with_masks(found((BOX, 0.9, 0)), 0.75)
    assert other.masks is not None
    other.masks[0, 0, 0] -= 0.008  # one of 16 cells

    assert difference(one, other, LIMITS, "a.png").mask == pytest.approx(0.0005, abs=1e-6)
    (text,) = difference(one, with_masks(one, 0.5), LIMITS, "a.png").unexplained
    assert text.endswith("0 pixels and 0 of score, their masks by 0.25 on the mean")


@pytest.mark.parametrize(
    ("num_detections", "number", "fails"),
    [(90, 1, False), (90, 2, True), (4000, 20, False), (4000, 21, True)],
)
def test_few_detections_of_a_two_stage_detector_may_differ(
    num_detections: int, number: int, fails: bool
) -> None:
    limits = replace(LIMITS, has_regions=True)
    seen = Difference(num_detections=num_detections, unexplained=("a.png: this",) * number)

    if not fails:
        check_detections(seen, limits)
        return
    with pytest.raises(ParityError, match=rf"a.png: this \({number} of {num_detections} det"):
        check_detections(seen, limits)


def test_a_detection_at_the_score_threshold_may_be_missing() -> None:
    one = found((BOX, 0.9, 0), ([100.0, 0.0, 120.0, 30.0], 0.0501, 0))

    assert difference(one, found((BOX, 0.9, 0)), LIMITS, "a.png").num_at_threshold == 1


def test_a_detection_with_the_last_score_may_be_replaced_where_there_are_as_many_as_allowed() -> (
    None
):
    common = [(BOX, 0.9, 0), ([0.0, 0.0, 8.0, 8.0], 0.8, 1)]
    one = found(*common, ([100.0, 0.0, 120.0, 30.0], 0.3001, 0))
    other = found(*common, ([200.0, 0.0, 220.0, 30.0], 0.3003, 0))

    assert difference(one, other, LIMITS, "a.png").num_at_threshold == 2


def test_a_detection_whose_overlap_is_that_of_nms_may_be_missing() -> None:
    half = [10.0, 10.0, 30.0, 30.01]  # IoU 0.5 with BOX

    seen = difference(found((BOX, 0.9, 0), (half, 0.8, 0)), found((BOX, 0.9, 0)), LIMITS, "a.png")

    assert seen.num_at_threshold == 1


def test_images_without_detections_are_equal() -> None:
    assert difference(found(), found(), LIMITS, "a.png").num_at_threshold == 0


def test_raw_outputs_are_compared_relative_to_their_size() -> None:
    one = Raw(np.array([1000.0, 0.5], dtype=np.float32))
    other = Raw(np.array([1000.05, 0.50002], dtype=np.float32))

    assert raw_difference(one, other, PIXELS, "a.png") == pytest.approx(5e-5, rel=0.05)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (np.array([1.0, 2.001]), "a.png: output 1 of the export differs from the detector's by"),
        (np.array([1.0, np.nan]), "a.png: output 1 of the export differs from the detector's by n"),
        (np.array([1.0]), r"a.png: output 1 of the export has the shape \(1,\), that of the"),
    ],
    ids=["value", "not a number", "shape"],
)
def test_other_raw_outputs_are_refused(other: NDArray[np.float64], text: str) -> None:
    one = Raw(np.array([1.0, 2.0], dtype=np.float32))

    with pytest.raises(ParityError, match=text):
        raw_difference(one, Raw(other.astype(np.float32)), PIXELS, "a.png")


def test_ap_may_differ_by_a_tenth_of_a_point() -> None:
    check_ap(0.4, 0.4009)
    with pytest.raises(ParityError, match=r"the export has AP 40.20 % .* its detector 40.00 %"):
        check_ap(0.4, 0.402)


def test_iou_of_boxes_is_inside_over_union() -> None:
    one = np.array([[0, 0, 4, 4], [0, 0, 0, 0]], dtype=np.float32)
    other = np.array([[2, 0, 6, 4], [8, 8, 9, 9]], dtype=np.float32)

    assert iou_matrix(one, other).tolist() == [[8 / 24, 0.0], [0.0, 0.0]]
