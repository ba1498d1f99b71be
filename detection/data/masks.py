"""Masks of objects as COCO's run-length encoding (RLE): read from annotations, written, drawn.

The runs count pixels column by column, alternately outside and inside of the object.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_masks
from numpy.typing import NDArray

from detection.data.findings import shown
from searchd.domain.errors import DataError

Mask = str
"""The pixels of an object in an image of known size: COCO's compressed counts."""
Segmentation = dict[str, Any]
"""A mask with the size of its image, as COCO's `segmentation`: `size` (height, width), `counts`."""

MAX_SIDE_PX = 65_500
"""Largest side of an image whose masks are read, in pixels: that of a JPEG. The number of pixels of
such an image fits into 32 bits, with which run lengths are stored."""
_LEAST_POINTS = 3
_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48
"""A character of compressed counts holds 5 bits, lowest first, and whether more follow; the last
one has the sign. Characters begin at "0"."""
_MOST_BITS = 40
"""Enough for the difference of two numbers of pixels."""


def read_mask(segmentation: object, width: int, height: int) -> Mask | None:
    """Return the mask of an annotation's `segmentation`; None if it has none.

    Args:
        segmentation: Polygons (lists of x, y, x, y, ... in pixels), or an RLE (`size`: height and
            width, `counts`: numbers, or compressed as text).
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Raises:
        DataError: It is neither, or does not fit the image. The message says what is wrong, without
            naming the annotation.
    """
    if segmentation is None or segmentation in ([], {}, ""):
        return None
    if max(width, height) > MAX_SIDE_PX:
        raise DataError(f"masks are read of images of at most {MAX_SIDE_PX} pixels on each side")
    if isinstance(segmentation, dict):
        counts = _checked_counts(segmentation, width, height)
        rle = coco_masks.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    else:
        polygons = list(_checked_polygons(segmentation, width, height))
        rle = coco_masks.merge(coco_masks.frPyObjects(polygons, height, width))
    return _text(rle["counts"])


def as_segmentation(mask: Mask, width: int, height: int) -> Segmentation:
    """Return a mask as COCO's `segmentation`."""
    return {"size": [height, width], "counts": mask}


def drawn(mask: Mask, width: int, height: int) -> NDArray[np.uint8]:
    """Return the pixels of a mask, height x width: 1 inside, 0 outside."""
    found: NDArray[np.uint8] = coco_masks.decode(as_segmentation(mask, width, height))
    return found


def encoded(pixels: NDArray[np.bool_] | NDArray[np.uint8]) -> Mask:
    """Return the mask of pixels, height x width, that are not 0 inside."""
    return _text(coco_masks.encode(np.asfortranarray(pixels, dtype=np.uint8))["counts"])


def _checked_polygons(segmentation: object, width: int, height: int) -> Iterator[list[float]]:
    if not isinstance(segmentation, list):
        raise DataError("segmentation is neither a list of polygons nor an RLE")
    for polygon in segmentation:
        if not _is_polygon(polygon):
            raise DataError("a polygon of segmentation is no list of x, y, x, y, ... of 3 points")
        if not (_is_near(polygon[::2], width) and _is_near(polygon[1::2], height)):
            raise DataError(f"a polygon of segmentation is far outside {width}x{height} pixels")
        yield [float(number) for number in polygon]


def _is_polygon(polygon: object) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) % 2 == 0
        and len(polygon) >= 2 * _LEAST_POINTS
        and all(type(number) in (int, float) for number in polygon)
    )


def _is_near(coordinates: Sequence[float], side: int) -> bool:
    """Return whether coordinates are inside an image, or outside by at most its own size."""
    return all(-side <= each <= 2 * side for each in coordinates)


def _checked_counts(rle: dict[str, Any], width: int, height: int) -> list[int]:
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width]:
        raise DataError(
            f"segmentation has size {shown(size)}, the image [height, width] is [{height}, {width}]"
        )
    runs = list(_runs(counts)) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise DataError("counts of segmentation are neither whole numbers >= 0 nor compressed")
    if sum(runs) != width * height:
        raise DataError(
            f"counts of segmentation add up to {sum(runs)} pixels, the image has {width * height}"
        )
    return runs


def _runs(counts: str) -> Iterator[int]:
    """Yield the numbers of compressed counts; from the fourth on they are stored as differences
    from the number two before."""
    found: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - _FIRST
        if not 0 <= bits < 2 * _MORE:
            raise DataError(f"counts of segmentation have the character {character!r}")
        value |= (bits & (_MORE - 1)) << shift
        shift += _BITS
        if shift > _MOST_BITS:
            raise DataError("a number in counts of segmentation is too large")
        if bits & _MORE:
            continue
        value -= (1 << shift) if bits & _SIGN else 0
        found.append(value + (found[-2] if len(found) > 2 else 0))
        yield found[-1]
        value = shift = 0
    if shift:
        raise DataError("compressed counts of segmentation end inside a number")


def _text(counts: bytes | str) -> Mask:
    return counts.decode() if isinstance(counts, bytes) else counts
