"""Matches detections with the objects of a split, image by image, as COCO does.

COCO's tools give one AP for all images. With the matches of each image, AP can be computed for any
multiset of images: see `detection.measurement.bootstrap`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

from detection.data.coco import CocoSplit
from detection.data.records import ImageRecord
from detection.measurement.evaluation import Detection, renumbered

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds: a detection matches an object if their IoU is at least the threshold."""
MAX_DETECTIONS = 100
"""Number of detections with the highest scores that count, per image and class."""
_BELOW_ONE = 1 - 1e-10
"""COCO never asks for a larger IoU."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassMatches:
    """The detections of one class on all images of a split, by descending score.

    Detections of equal score are in the order of their images. N is the number of detections, T
    that of `IOU_THRESHOLDS`, n that of images.
    """

    images: Ints
    """N: index of the image."""
    matched: Bools
    """T x N: whether the detection matches an object that no better detection matches."""
    ignored: Bools
    """T x N: whether the detection matches a crowd, so that it is neither right nor wrong."""
    objects: Ints
    """n: number of objects in each image, without crowds."""


def match(split: CocoSplit, detections: Sequence[Detection]) -> tuple[ClassMatches, ...]:
    """Match the detections on all images of a split.

    Args:
        split: The split with the objects.
        detections: Detections on its images, in any order.

    Returns:
        The matches of each class, in the order of the labels.

    Raises:
        DataError: A detection is of an image that the split does not have.
    """
    found: dict[tuple[int, int], list[Detection]] = {}
    for detection in renumbered(split, detections):
        key = (detection["image_id"] - 1, detection["category_id"] - 1)
        found.setdefault(key, []).append(detection)
    return tuple(_match_class(split, label, found) for label in range(split.num_classes))


def _match_class(
    split: CocoSplit, label: int, found: dict[tuple[int, int], list[Detection]]
) -> ClassMatches:
    images, scores, matched, ignored = [], [], [], []
    for image, record in enumerate(split.records):
        detections = _best(found.get((image, label), []))
        images += [image] * len(detections)
        scores += [detection["score"] for detection in detections]
        flags = match_image(detections, *_objects(record, label))
        matched.append(flags[0])
        ignored.append(flags[1])
    order = np.argsort(-np.array(scores, dtype=np.float64), kind="stable")
    return ClassMatches(
        images=np.array(images, dtype=np.int64)[order],
        matched=np.concatenate(matched, axis=1)[:, order],
        ignored=np.concatenate(ignored, axis=1)[:, order],
        objects=np.array([(record.labels == label).sum() for record in split.records]),
    )


def match_image(
    detections: Sequence[Detection], objects: Floats, crowds: Floats
) -> tuple[Bools, Bools]:
    """Match the detections of one class on one image.

    At each threshold every detection, the one with the highest score first, matches the free object
    with the largest IoU; without one, a crowd, which any number of detections can match.

    Args:
        detections: D detections, by descending score.
        objects: n x 4 boxes: x, y, width, height in pixels.
        crowds: m x 4 boxes of crowds.

    Returns:
        Flags `matched` and `ignored`, each T x D; see `ClassMatches`.
    """
    shape = (len(IOU_THRESHOLDS), len(detections))
    matched, ignored = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    if not detections or not len(objects) + len(crowds):
        return matched, ignored
    ious = _ious(detections, objects, crowds)
    for number, threshold in enumerate(np.minimum(IOU_THRESHOLDS, _BELOW_ONE)):
        free = np.ones(len(objects), dtype=bool)
        for index in np.flatnonzero((ious >= threshold).any(axis=1)):
            best = _largest(ious[index, : len(objects)], free, threshold)
            if best is None:
                ignored[number, index] = (ious[index, len(objects) :] >= threshold).any()
            else:
                matched[number, index], free[best] = True, False
    return matched, ignored


def _largest(ious: Floats, free: Bools, threshold: float) -> int | None:
    """Return the index of the free object with the largest IoU, the last one of equal ones; None if
    no free object reaches the threshold."""
    candidates = np.flatnonzero(free & (ious >= threshold))
    if not len(candidates):
        return None
    return int(candidates[len(candidates) - 1 - np.argmax(ious[candidates][::-1])])


def _best(detections: list[Detection]) -> list[Detection]:
    return sorted(detections, key=lambda detection: -detection["score"])[:MAX_DETECTIONS]


def _ious(detections: Sequence[Detection], objects: Floats, crowds: Floats) -> Floats:
    """Return D x (n + m) IoUs; with a crowd, the share of the detection inside it."""
    boxes = np.array([detection["bbox"] for detection in detections], dtype=np.float64)
    flags = [0] * len(objects) + [1] * len(crowds)
    return np.asarray(mask.iou(boxes, np.concatenate([objects, crowds]), flags))


def _objects(record: ImageRecord, label: int) -> Iterator[Floats]:
    """Yield the objects and the crowds of a class: n x 4 and m x 4, x, y, width, height."""
    yield _xywh(record.boxes[record.labels == label])
    yield _xywh(record.crowd_boxes[record.crowd_labels == label])


def _xywh(boxes: NDArray[np.float32]) -> Floats:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)
