"""TIDE: attributes a detector's lost AP to kinds of errors, at each threshold (DICOD,
docs/papers.md 5.6).

Errors are classified and AP is computed as in TIDE's reference implementation. Its AP differs from
COCO's in one point: a class that was detected but does not occur counts as AP 0, where COCO leaves
it out. Detections inside crowds of their class are left out, as in COCO; they are no errors. Boxes
are COCO's x, y, width, height in pixels of the original image.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval.core import mask
from numpy.typing import NDArray

from detection.measurement.evaluation import Detection
from searchd.domain.breakdown import ErrorKind
from searchd.domain.errors import InvalidValueError

BACKGROUND_IOU = 0.1
"""Largest IoU of a detection on background with any object; see `ErrorKind`."""
THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""DICOD's sweep of the foreground threshold, .50 to .95."""
MAX_DETECTIONS = 100
"""Number of detections per image that count, the ones with the best scores, as in the reference.
COCO's AP counts this number per class. Both are the same for detectors that give no more detections
per image, such as mmdet's."""
RECALLS = np.linspace(0, 1, 101)
"""Recalls at which precision is averaged; bitwise those of COCO, which decides ties."""


_REPAIRED = (ErrorKind.CLASSIFICATION, ErrorKind.LOCALISATION)
"""Errors that an oracle turns into hits. It removes the others."""
_HIT, _IGNORED = "hit", "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The errors of a detector at one foreground threshold."""

    threshold: float
    """Smallest IoU of a hit."""
    ap: float
    """AP at this threshold, in [0, 1]."""
    lost_ap: Mapping[ErrorKind, float]
    """AP that an oracle gains by repairing errors of this kind alone, in [0, 1]."""
    counts: Mapping[ErrorKind, int]
    """Number of detections with this error; of objects for MISSED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Image:
    """D detections, best first, against G objects and C crowd regions."""

    scores: NDArray[np.float64]
    """D."""
    classes: NDArray[np.int64]
    """D, category ids."""
    ious: NDArray[np.float64]
    """D x G."""
    object_classes: NDArray[np.int64]
    """G."""
    crowd_overlaps: NDArray[np.float64]
    """D x C: share of the detection inside the crowd, 0 for crowds of other classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """An image's detections with their verdicts."""

    verdicts: list[str]
    """D: an `ErrorKind`, hit or ignored."""
    repaired_class: NDArray[np.int64]
    """D: the class that an oracle gives the detection; -1 if it removes it."""
    missed_classes: NDArray[np.int64]
    """Class of every missed object."""


def errors(
    document: Mapping[str, Any],
    detections: Iterable[Detection],
    thresholds: Sequence[float] = THRESHOLDS,
) -> list[Errors]:
    """Classify a detector's errors, at each foreground threshold.

    Args:
        document: COCO's ground truth: images, annotations, categories.
        detections: Detections on any of its images, in COCO's result format.
        thresholds: Foreground thresholds, each in (`BACKGROUND_IOU`, 1].

    Raises:
        InvalidValueError: A detection is on an image that the ground truth does not have.
    """
    images = _images(document, detections)
    return [_errors_at(images, threshold) for threshold in thresholds]


def _images(document: Mapping[str, Any], detections: Iterable[Detection]) -> list[_Image]:
    """Return images by ascending id, which is how COCO's AP sorts detections of equal score."""
    objects: dict[int, list[Mapping[str, Any]]] = {i["id"]: [] for i in document["images"]}
    found: dict[int, list[Detection]] = {image: [] for image in objects}
    for annotation in document["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    for detection in detections:
        image = detection["image_id"]
        if image not in found:
            raise InvalidValueError(
                f"a detection is on image {image!r}, which the ground truth does not have"
            )
        found[image].append(detection)
    return [_image(objects[image], found[image]) for image in sorted(objects)]


def _image(annotations: Sequence[Mapping[str, Any]], detections: list[Detection]) -> _Image:
    detections = sorted(detections, key=lambda d: -d["score"])[:MAX_DETECTIONS]
    objects = [a for a in annotations if not a.get("iscrowd", 0)]
    crowds = [a for a in annotations if a.get("iscrowd", 0)]
    classes, crowd_classes = _classes(detections), _classes(crowds)
    same_class = classes[:, None] == crowd_classes[None, :]
    return _Image(
        scores=np.array([d["score"] for d in detections], np.float64),
        classes=classes,
        ious=_overlaps(detections, objects, crowd=False),
        object_classes=_classes(objects),
        crowd_overlaps=_overlaps(detections, crowds, crowd=True) * same_class,
    )


def _classes(records: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    return np.array([record["category_id"] for record in records], np.int64)


def _overlaps(
    detections: Sequence[Detection], others: Sequence[Mapping[str, Any]], *, crowd: bool
) -> NDArray[np.float64]:
    """Return COCO's IoU, D x len(others); for crowds, the share of the detection inside."""
    if not detections or not others:
        return np.zeros((len(detections), len(others)))
    boxes = [np.array([r["bbox"] for r in records], np.float64) for records in (detections, others)]
    return np.asarray(mask.iou(*boxes, [int(crowd)] * len(others)))


def _errors_at(images: Sequence[_Image], threshold: float) -> Errors:
    judged = [_judge(image, threshold) for image in images]
    scores = np.concatenate([image.scores for image in images])
    classes = np.concatenate([image.classes for image in images])
    verdicts = np.array([v for one in judged for v in one.verdicts], dtype=object)
    repaired = np.concatenate([one.repaired_class for one in judged])
    objects = np.concatenate([image.object_classes for image in images])
    missed = np.concatenate([one.missed_classes for one in judged])
    is_hit, counted = verdicts == _HIT, verdicts != _IGNORED
    base = _ap(scores[counted], classes[counted], is_hit[counted], objects)
    lost = {}
    for kind in ErrorKind:
        of_kind = verdicts == kind
        kept = counted & ~(of_kind & (repaired < 0))
        fixed = _ap(
            scores[kept],
            np.where(of_kind, repaired, classes)[kept],
            (is_hit | of_kind)[kept],
            _without(objects, missed) if kind is ErrorKind.MISSED else objects,
        )
        # A repair can lower AP only by the steps of its 101 recalls; the reference clips too.
        lost[kind] = max(0.0, fixed - base)
    counts = {kind: int((verdicts == kind).sum()) for kind in ErrorKind}
    counts[ErrorKind.MISSED] = len(missed)
    return Errors(threshold=threshold, ap=base, lost_ap=lost, counts=counts)


def _judge(image: _Image, threshold: float) -> _Judged:
    """Match greedily inside each class, then classify each error (docs/papers.md 5.6)."""
    same_class = image.classes[:, None] == image.object_classes[None, :]
    hits = _match(np.where(same_class, image.ious, 0.0), threshold)
    is_free = np.ones(len(image.object_classes), dtype=bool)
    is_free[[found for found in hits if found >= 0]] = False
    repaired = np.full(len(hits), -1, np.int64)
    is_repairable = np.zeros(len(is_free), dtype=bool)
    verdicts = []
    for number, found in enumerate(hits):
        if found >= 0:
            verdicts.append(_HIT)
            continue
        if (image.crowd_overlaps[number] >= threshold).any():
            verdicts.append(_IGNORED)
            continue
        kind, target = _classify(image.ious[number], same_class[number], threshold)
        verdicts.append(kind)
        # Detections are sorted, so the first one for a free object is its best one.
        if kind in _REPAIRED and is_free[target] and not is_repairable[target]:
            is_repairable[target] = True
            repaired[number] = image.object_classes[target]
    missed = image.object_classes[is_free & ~is_repairable]
    return _Judged(verdicts=verdicts, repaired_class=repaired, missed_classes=missed)


def _match(ious: NDArray[np.float64], threshold: float) -> list[int]:
    """Match each detection, best first, with the free object that it overlaps most.

    Args:
        ious: D x G, 0 between different classes. It is overwritten.
        threshold: Smallest IoU of a match.

    Returns:
        Index of each detection's object; -1 for none.
    """
    hits = []
    for row in ious:
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] < threshold:
            best = -1
        if best >= 0:
            ious[:, best] = 0
        hits.append(best)
    return hits


def _classify(
    ious: NDArray[np.float64], same_class: NDArray[np.bool_], threshold: float
) -> tuple[ErrorKind, int]:
    """Return the error of an unmatched detection, and the index of its object (-1 for none).

    Objects that are already matched count as well. The order of the tests and their inclusive
    bounds are those of the reference.
    """
    if not len(ious):
        return ErrorKind.BACKGROUND, -1
    of_class, of_others = np.where(same_class, ious, 0.0), np.where(same_class, 0.0, ious)
    own, other = int(of_class.argmax()), int(of_others.argmax())
    if BACKGROUND_IOU <= of_class[own] <= threshold:
        return ErrorKind.LOCALISATION, own
    if of_others[other] >= threshold:
        return ErrorKind.CLASSIFICATION, other
    if of_class[own] >= threshold:
        return ErrorKind.DUPLICATE, -1
    if ious.max() <= BACKGROUND_IOU:
        return ErrorKind.BACKGROUND, -1
    return ErrorKind.BOTH, -1


def _without(objects: NDArray[np.int64], missed: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the objects' classes without those of missed objects, in any order."""
    classes, counts = np.unique(objects, return_counts=True)
    gone = [int((missed == one).sum()) for one in classes]
    return np.repeat(classes, counts - np.array(gone, np.int64))


def _ap(
    scores: NDArray[np.float64],
    classes: NDArray[np.int64],
    is_hit: NDArray[np.bool_],
    objects: NDArray[np.int64],
) -> float:
    """Return the mean AP of the classes that were detected or occur; 0 if there are none.

    Args:
        scores: Scores of all detections, image by image.
        classes: Classes of all detections.
        is_hit: Which detections are true positives.
        objects: Class of every object.
    """
    present = np.union1d(classes, objects)
    aps = [
        _class_ap(scores[classes == one], is_hit[classes == one], int((objects == one).sum()))
        for one in present
    ]
    return float(np.mean(aps)) if aps else 0.0


def _class_ap(scores: NDArray[np.float64], is_hit: NDArray[np.bool_], num_objects: int) -> float:
    """Return COCO's AP: precision, made monotonic, averaged over 101 recalls."""
    if num_objects == 0:
        return 0.0
    hits = is_hit[np.argsort(-scores, kind="stable")]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits.cumsum() / num_objects, RECALLS, side="left")
    return float(np.append(falling, np.zeros(1))[places].mean())
