"""Draws boxes and masks on images, and the sample picture of a model card."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.data.coco import CocoSplit
from detection.data.masks import Segmentation, as_segmentation, drawn
from detection.deployment.opened import Opened

Picture = NDArray[np.uint8]
"""H x W x 3, RGB."""
_COLOURS = (
    (230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180),
    (0, 150, 150), (240, 50, 230), (128, 128, 0), (170, 110, 40), (128, 0, 0),
)  # fmt: skip
"""Colours of the classes, RGB; they repeat."""
_LEAST_SCORE = 0.3
"""Smallest score of a detection on a sample picture."""
_BAND = 24
"""Height in pixels of the title of a sample picture."""
_SIDE = 480
"""Smallest height in pixels that the images of a sample picture are enlarged to."""

_COVER = 0.45
"""How much of a pixel's colour is that of the mask which covers it."""

Box = tuple[int, str, Sequence[float]]
"""Label, text, and x1, y1, x2, y2 in pixels."""
Covered = tuple[int, Segmentation | None]
"""Label, and the pixels of the picture that are of the object, if they are known."""


def draw(picture: Picture, boxes: Iterable[Box]) -> None:
    """Draw boxes and their texts into a picture."""
    height, width = picture.shape[:2]
    scale = max(1.0, min(height, width) / 600)
    for label, text, box in boxes:
        colour = _COLOURS[label % len(_COLOURS)]
        left, top, right, bottom = (round(side) for side in box)
        cv2.rectangle(picture, (left, top), (right, bottom), colour, round(scale))
        place = (left, max(round(12 * scale), top - 3))
        cv2.putText(picture, text, place, 0, 0.45 * scale, colour, round(scale), cv2.LINE_AA)


def cover(picture: Picture, masks: Iterable[Covered]) -> None:
    """Tint the pixels of objects in a picture."""
    height, width = picture.shape[:2]
    for label, mask in masks:
        if mask is not None:
            inside = drawn(mask["counts"], width, height).astype(bool)
            colour = np.asarray(_COLOURS[label % len(_COLOURS)])
            picture[inside] = (1 - _COVER) * picture[inside] + _COVER * colour


def sample(opened: Opened, split: CocoSplit) -> bytes:
    """Return a JPEG file: an image of a split with its ground truth, and beside it with what a
    detector finds with a score of at least 0.3.

    The image is the first of those with the most classes. Its file is not smaller than 480 pixels
    high, so that the texts can be read.
    """
    index = max(range(len(split)), key=lambda each: len(set(split.records[each].labels.tolist())))
    record, image = split.records[index], split.image(index)
    factor = max(1, -(-_SIDE // image.shape[0]))
    truth = zip(record.labels.tolist(), record.boxes.tolist(), strict=True)
    found = opened.detect(image, _LEAST_SCORE)
    names = split.class_names
    sides = [
        (
            "ground truth",
            [(label, names[label], box) for label, box in truth],
            _true_masks(opened, split, index),
        ),
        (
            f"found with a score of {_LEAST_SCORE:g} or more",
            [(each.label, f"{names[each.label]} {each.score:.2f}", each.box) for each in found],
            [(each.label, each.segmentation) for each in found],
        ),
    ]
    joined = np.hstack([_side(image, *side, factor) for side in sides])
    return cv2.imencode(".jpg", joined[..., ::-1])[1].tobytes()


def _true_masks(opened: Opened, split: CocoSplit, index: int) -> list[Covered]:
    """Return the masks of an image's objects; none for a detector that finds boxes alone."""
    detector = opened.request.detector
    if detector is None or not detector.family.has_masks or not split.has_masks:
        return []
    record = split.masked_records[index]
    return [
        (label, None if mask is None else as_segmentation(mask, record.width, record.height))
        for label, mask in zip(record.labels.tolist(), record.masks, strict=True)
    ]


def _side(
    image: Picture, title: str, boxes: Iterable[Box], masks: Iterable[Covered], factor: int
) -> Picture:
    """Return an enlarged image with boxes and masks, below a title."""
    height, width = image.shape[:2]
    covered = image.copy()
    cover(covered, masks)
    picture = np.asarray(cv2.resize(covered, (width * factor, height * factor)), dtype=np.uint8)
    draw(picture, [(label, text, [factor * side for side in box]) for label, text, box in boxes])
    band = np.full((_BAND, picture.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(band, title, (4, _BAND - 7), 0, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([band, picture])
