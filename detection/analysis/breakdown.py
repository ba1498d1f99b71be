"""Breaks the result of an evaluation down for people: errors by kind, detections on a few images.

Both take time in proportion to detections, so the number of images is limited: what they cost must
not grow with the split.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from detection.analysis import tide
from detection.data.coco import CocoSplit
from detection.data.samples import NUM_SAMPLES, spread
from detection.measurement.evaluation import Detection, renumbered
from searchd.domain.breakdown import ERROR_IOU, Breakdown, ErrorFigures
from searchd.domain.resolution import Resolution
from searchd.messages.predictions import PredictedBox, PredictedImage, SamplePredictions

MAX_ERROR_IMAGES = 500
"""Errors are counted on as many images of the split at most, spread evenly over it."""
MAX_BOXES = 60
"""Number of detections of a sample image that are kept at most, those with the best scores."""
MIN_SCORE = 0.05
"""Smallest score of a detection that is kept."""


def break_down(
    split: CocoSplit,
    detections: Sequence[Detection],
    class_aps: dict[str, float],
    *,
    max_images: int = MAX_ERROR_IMAGES,
) -> Breakdown:
    """Return the AP of each class with the errors by kind, at IoU `ERROR_IOU`.

    Args:
        split: The split that was evaluated.
        detections: All detections on it.
        class_aps: AP of each class by its name.
        max_images: Errors are counted on this number of images at most.

    Raises:
        DataError: A detection is of an image that the split does not have.
    """
    chosen = _numbers(len(split), max_images)
    found = [each for each in renumbered(split, detections) if each["image_id"] in chosen]
    (result,) = tide.errors(_part(split.ground_truth(), chosen), found, [ERROR_IOU])
    errors = {
        kind: ErrorFigures(count=result.counts[kind], lost_ap=lost)
        for kind, lost in result.lost_ap.items()
    }
    return Breakdown(class_aps=class_aps, errors=errors, num_error_images=len(chosen))


def sample_predictions(
    split: CocoSplit, resolution: Resolution, detections: Sequence[Detection]
) -> SamplePredictions:
    """Return the best detections on the validation images that the check of the data set chose as
    samples.

    Args:
        split: The validation split.
        resolution: Resolution at which it was evaluated.
        detections: All detections on it.
    """
    samples = spread(split.records, NUM_SAMPLES["validation"])
    found: dict[object, list[Detection]] = {record.image_id: [] for record in samples}
    for each in detections:
        if each["image_id"] in found:
            found[each["image_id"]].append(each)
    names = dict(zip(split.category_ids, split.class_names, strict=True))
    images = tuple(
        PredictedImage(path=str(record.path), boxes=_boxes(found[record.image_id], names))
        for record in samples
    )
    return SamplePredictions(resolution=resolution, images=images)


def _boxes(detections: list[Detection], names: dict[Any, str]) -> tuple[PredictedBox, ...]:
    best = sorted(detections, key=lambda each: -each["score"])[:MAX_BOXES]
    return tuple(
        PredictedBox(
            class_name=names[each["category_id"]],
            score=round(each["score"], 4),
            bbox=_rounded(each["bbox"]),
        )
        for each in best
        if each["score"] >= MIN_SCORE
    )


def _rounded(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = (round(value, 1) for value in bbox)
    return x, y, width, height


def _numbers(num_images: int, most: int) -> set[int]:
    """Return numbers of images, from 1, spread evenly."""
    return {round(number) for number in np.linspace(1, num_images, min(num_images, most)).tolist()}


def _part(document: dict[str, Any], images: set[int]) -> dict[str, Any]:
    """Return COCO's ground truth of some of its images."""
    return {
        **document,
        "images": [each for each in document["images"] if each["id"] in images],
        "annotations": [each for each in document["annotations"] if each["image_id"] in images],
    }
