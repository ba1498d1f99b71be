"""Images as an exported detector takes them."""

from dataclasses import dataclass

import mmcv
import numpy as np
from numpy.typing import NDArray

from detection.data.batches import resized
from detection.data.masks import Segmentation, as_segmentation, encoded
from detection.deployment.exported import Found, Pixels
from detection.deployment.pasting import pasted
from detection.families import PIXEL_MEAN
from searchd.domain.resolution import Resolution


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """One image as input of a detector."""

    pixels: Pixels
    """1 x 3 x H x W."""
    scale: tuple[float, float]
    """Pixels of the input per pixel of the image, along x and y."""


def prepared(image: NDArray[np.uint8], resolution: Resolution, *, fixed: bool) -> Input:
    """Resize an image with its aspect ratio kept.

    Args:
        image: H x W x 3, RGB.
        resolution: Long-side maximum and short-side target; with `fixed` the width and height of
            the input.
        fixed: Whether the input has exactly this size. The rest is filled with the mean colour,
            which is zero once it is normalised, as the padding in training.
    """
    height, width = image.shape[:2]
    size = _fitted(width, height, resolution) if fixed else resized(width, height, resolution)
    pixels = mmcv.imresize(image, size).astype(np.float32)
    if fixed:
        canvas = np.full((resolution.height, resolution.width, 3), PIXEL_MEAN, dtype=np.float32)
        canvas[: size[1], : size[0]] = pixels
        pixels = canvas
    return Input(
        pixels=np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]),
        scale=(size[0] / width, size[1] / height),
    )


def boxes_in_image(found: Found, scale: tuple[float, float]) -> NDArray[np.float32]:
    """Return boxes in pixels of the image: n x 4, xyxy."""
    return np.asarray(found.boxes / np.asarray(scale * 2), dtype=np.float32)


def segmentations(
    found: Found, boxes: NDArray[np.float32], width: int, height: int
) -> list[Segmentation | None]:
    """Return the pixels of each detection in the image; None of detectors that find boxes alone.

    Args:
        found: The detections.
        boxes: Their boxes in pixels of the image, n x 4.
        width: Width of the image.
        height: Height of the image.
    """
    if found.masks is None:
        return [None] * len(boxes)
    pairs = zip(found.masks, boxes, strict=True)
    masks = (encoded(pasted(mask, box, width, height)) for mask, box in pairs)
    return [as_segmentation(mask, width, height) for mask in masks]


def _fitted(width: int, height: int, box: Resolution) -> tuple[int, int]:
    """Return the largest size of an image that fits into a box."""
    scale = min(box.width / width, box.height / height)
    return max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
