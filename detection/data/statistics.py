"""Statistics of a checked data set, as plain JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.data.records import ImageRecord, NormalisedSplit
from detection.data.sequences import by_sequence
from searchd.domain.resolution import Resolution

RESOLUTIONS = ("320x320", "640x640", "1333x800")
"""Resolutions at which the smallest boxes are counted, since that of training is not known."""
FINE_STRIDE_PX = 8.0
"""Short side below which detectors hardly find a box, in pixels of the resized image: the stride of
the second finest level of usual feature pyramids."""
SMALL_PX, LARGE_PX = 32.0, 96.0
"""Sides of COCO's limits between small, medium and large objects, in pixels."""


def statistics(splits: Mapping[str, NormalisedSplit]) -> dict[str, Any]:
    """Return the statistics of the splits.

    Returns:
        `classes`: for each class the number of objects by split. `splits`: by name of the split
        the numbers of images, sequences, objects and masks, and the sizes of boxes and images, in
        pixels.
    """
    names = next((split.class_names for split in splits.values()), ())
    return {
        "classes": {
            name: {split: counts[label] for split, counts in _counts(splits).items()}
            for label, name in enumerate(names)
        },
        "splits": {name: _of_split(split.records) for name, split in splits.items()},
    }


def objects_by_label(split: NormalisedSplit) -> list[int]:
    """Return the number of objects of each class, without crowds."""
    labels = [label for record in split.records for label in record.labels.tolist()]
    counts = Counter(labels)
    return [counts[label] for label in range(len(split.class_names))]


def _counts(splits: Mapping[str, NormalisedSplit]) -> dict[str, list[int]]:
    longest = max((len(split.class_names) for split in splits.values()), default=0)
    return {
        name: [*objects_by_label(split), *[0] * (longest - len(split.class_names))]
        for name, split in splits.items()
    }


def _of_split(records: Sequence[ImageRecord]) -> dict[str, Any]:
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(record.boxes for record in records)])
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = np.concatenate([np.zeros(0), *(record.areas for record in records)])
    images = np.array([(r.width, r.height) for r in records], dtype=np.int64).reshape(-1, 2)
    return {
        "images": len(records),
        "sequences": len(by_sequence([record.frame for record in records])),
        "images_without_objects": sum(1 for record in records if not len(record.labels)),
        "objects": len(boxes),
        "masks": sum(mask is not None for record in records for mask in record.masks),
        "crowds": sum(len(record.crowd_labels) for record in records),
        "most_objects_in_an_image": max((len(record.labels) for record in records), default=0),
        "objects_by_size": {
            "small": int((areas < SMALL_PX**2).sum()),
            "medium": int(((areas >= SMALL_PX**2) & (areas <= LARGE_PX**2)).sum()),
            "large": int((areas > LARGE_PX**2).sum()),
        },
        "box_short_side_px": _range(sides.min(axis=1) if len(sides) else sides),
        "box_long_side_px": _range(sides.max(axis=1) if len(sides) else sides),
        "box_aspect_ratio": _range(sides[:, 0] / sides[:, 1] if len(sides) else sides),
        "box_short_side_share": _range(_sides_at(records, None)),
        "share_of_boxes_below_8_px_at": {
            size: _share_below(_sides_at(records, Resolution.parse(size)), FINE_STRIDE_PX)
            for size in RESOLUTIONS
        },
        "image_width_px": _range(images[:, 0]),
        "image_height_px": _range(images[:, 1]),
        "image_sizes": len({tuple(size) for size in images.tolist()}),
    }


def _sides_at(records: Sequence[ImageRecord], resolution: Resolution | None) -> NDArray[Any]:
    """Return each box's short side in pixels at a resolution.

    Without a resolution it is a share of the image's short side.
    """
    sides = [
        (record.boxes[:, 2:] - record.boxes[:, :2]).min(axis=1) * _scale(record, resolution)
        for record in records
        if len(record.boxes)
    ]
    return np.concatenate([np.zeros(0), *sides])


def _scale(record: ImageRecord, resolution: Resolution | None) -> float:
    short, long = sorted((record.width, record.height))
    if resolution is None:
        return 1 / short
    target_short, target_long = sorted((resolution.width, resolution.height))
    return min(target_short / short, target_long / long)


def _share_below(sides: NDArray[Any], limit: float) -> float:
    return round(float((sides < limit).mean()), 4) if sides.size else 0.0


def _range(values: NDArray[Any]) -> dict[str, float] | None:
    """Return the minimum, the value that nine of ten exceed, median and maximum; None without
    values."""
    if not values.size:
        return None
    found = {
        "min": values.min(),
        "p10": np.quantile(values, 0.1),
        "median": np.median(values),
        "max": values.max(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}
