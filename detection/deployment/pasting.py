"""Masks of boxes as pixels of an image."""

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
"""Smallest probability of a pixel that is of the object (mmdet's `mask_thr_binary`)."""


def pasted(
    mask: NDArray[np.float32], box: NDArray[np.float32], width: int, height: int
) -> NDArray[np.bool_]:
    """Return the pixels of an image that are of an object.

    The probability of a pixel is interpolated linearly between the cells around its centre, which
    are 0 outside of the box, as in mmdet. A box without area has no pixel.

    Args:
        mask: M x M, the probability of each cell of the box.
        box: x1, y1, x2, y2 in pixels of the image.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        height x width.
    """
    found = np.zeros((height, width), dtype=np.bool_)
    if not (box[2:] > box[:2]).all():
        return found
    left, top = np.maximum(np.floor(box[:2]), 0).astype(int)
    right, bottom = np.minimum(np.ceil(box[2:]), (width, height)).astype(int)
    across = _shares(box[0], box[2], mask.shape[1], left, right)
    down = _shares(box[1], box[3], mask.shape[0], top, bottom)
    found[top:bottom, left:right] = down @ mask @ across.T >= THRESHOLD
    return found


def _shares(start: float, end: float, num_cells: int, first: int, last: int) -> NDArray[np.float32]:
    """Return how much each cell contributes to each pixel along one axis: pixels x cells.

    Args:
        start: Where the first cell begins, in pixels.
        end: Where the last cell ends.
        num_cells: Number of cells.
        first: The first pixel.
        last: The pixel after the last one.
    """
    centres = np.arange(first, last, dtype=np.float32) + 0.5
    places = (centres - start) / (end - start) * num_cells - 0.5  # in cells, from centre to centre
    distances = np.abs(places[:, None] - np.arange(num_cells, dtype=np.float32))
    return np.maximum(0, 1 - distances).astype(np.float32)
