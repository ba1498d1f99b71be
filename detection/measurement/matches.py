"""Matches detections with the objects of a split, image by image, as COCO does.

COCO's tools give one AP for all images. With the matches of each image, AP can be computed for any
multiset of images: see `detection.measurement.bootstrap`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

from detection.data.coco import CocoSplit
from detection.data.masks import Mask, Segmentation, as_segmentation
from detection.data.records import ImageRecord
from detection.measurement.evaluation import Detection, corners, renumbered
from searchd.domain.accuracy import ApKind

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds: a detection matches an object if their IoU is at least the threshold."""
MAX_DETECTIONS = 100
"""Number of detections with the highest scores that count, per image and class."""
_BELOW_ONE = 1 - 1e-10
"""COCO never asks for a larger IoU."""

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shapes = Floats | list[Segmentation]
"""Boxes, n x 4 (x, y, width, height in pixels), or n masks."""


_Objects = Callable[[ImageRecord, int], Iterator[Shapes]]
"""Yields the objects and the crowds of a class in an image."""


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


def match(
    split: CocoSplit, detections: Sequence[Detection], kind: ApKind = ApKind.BOX_AP
) -> tuple[ClassMatches, ...]:
    """Match the detections on all images of a split.

    Args:
        split: The split with the objects.
        detections: Detections on its images, in any order.
        kind: Whether boxes or masks are matched.

    Returns:
        The matches of each class, in the order of the labels.

    Raises:
        DataError: A detection is of an image that the split does not have, or masks are to be
            matched and an object has none.
    """
    found: dict[tuple[int, int], list[Detection]] = {}
    for detection in renumbered(split, detections):
        key = (detection["image_id"] - 1, detection["category_id"] - 1)
        found.setdefault(key, []).append(detection)
    of_masks = kind is ApKind.MASK_AP
    records = split.masked_records if of_masks else split.records
    objects: _Objects = _masks if of_masks else _boxes
    return tuple(_match_class(records, label, found, objects) for label in range(split.num_classes))


def _match_class(
    records: Sequence[ImageRecord],
    label: int,
    found: dict[tuple[int, int], list[Detection]],
    objects: _Objects,
) -> ClassMatches:
    images, scores, matched, ignored = [], [], [], []
    for image, record in enumerate(records):
        detections = _best(found.get((image, label), []))
        images += [image] * len(detections)
        scores += [detection["score"] for detection in detections]
        flags = match_image(detections, *objects(record, label))
        matched.append(flags[0])
        ignored.append(flags[1])
    order = np.argsort(-np.array(scores, dtype=np.float64), kind="stable")
    return ClassMatches(
        images=np.array(images, dtype=np.int64)[order],
        matched=np.concatenate(matched, axis=1)[:, order],
        ignored=np.concatenate(ignored, axis=1)[:, order],
        objects=np.array([(record.labels == label).sum() for record in records]),
    )


def match_image(
    detections: Sequence[Detection], objects: Shapes, crowds: Shapes
) -> tuple[Bools, Bools]:
    """Match the detections of one class on one image.

    At each threshold every detection, the one with the highest score first, matches the free object
    with the largest IoU; without one, a crowd, which any number of detections can match.

    Args:
        detections: D detections, by descending score.
        objects: n boxes or masks.
        crowds: m boxes or masks of crowds.

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


def _ious(detections: Sequence[Detection], objects: Shapes, crowds: Shapes) -> Floats:
    """Return D x (n + m) IoUs; with a crowd, the share of the detection inside it."""
    flags = [0] * len(objects) + [1] * len(crowds)
    if isinstance(objects, list):
        found = [detection["segmentation"] for detection in detections]
        return np.asarray(mask.iou(found, [*objects, *crowds], flags))
    boxes = np.array([detection["bbox"] for detection in detections], dtype=np.float64)
    return np.asarray(mask.iou(boxes, np.concatenate([objects, crowds]), flags))


def _boxes(record: ImageRecord, label: int) -> Iterator[Floats]:
    """Yield the boxes of the objects and of the crowds of a class."""
    yield _xywh(record.boxes[record.labels == label])
    yield _xywh(record.crowd_boxes[record.crowd_labels == label])


def _masks(record: ImageRecord, label: int) -> Iterator[list[Segmentation]]:
    """Yield the masks of the objects and of the crowds of a class; a crowd without a mask is its
    box."""
    for masks, labels, boxes in (
        (record.masks, record.labels, _xywh(record.boxes)),
        (record.crowd_masks, record.crowd_labels, _xywh(record.crowd_boxes)),
    ):
        yield [
            _of_mask(each, box, record)
            for each, of, box in zip_longest(masks, labels, boxes)
            if of == label
        ]


def _of_mask(of: Mask | None, box: Floats, record: ImageRecord) -> Segmentation:
    if of is not None:
        return as_segmentation(of, record.width, record.height)
    (made,) = mask.frPyObjects([corners(box.tolist())], record.height, record.width)
    return dict(made)


def _xywh(boxes: NDArray[np.float32]) -> Floats:
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], axis=1)
