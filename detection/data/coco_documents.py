"""Writes normalised records as documents in COCO's format."""

import os
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from detection.data.masks import Mask, as_segmentation
from detection.data.records import ImageRecord


def coco_document(
    records: Sequence[ImageRecord], class_names: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Return records in COCO's format.

    Ids count from 1, since COCO's evaluation takes an annotation with id 0 for no match. Image i is
    record i - 1, category i is label i - 1.

    Args:
        records: Images and their objects.
        class_names: Name of each label.
        folder: Folder that `file_name` is relative to.
    """
    images = [
        {
            "id": number,
            "file_name": os.path.relpath(record.path, folder),
            "width": record.width,
            "height": record.height,
            **_frame(record),
        }
        for number, record in enumerate(records, start=1)
    ]
    annotations = [a for i, r in enumerate(records, start=1) for a in _annotations(i, r)]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    categories = [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotations(image_id: int, record: ImageRecord) -> list[dict[str, Any]]:
    """Return the annotations of an image in COCO's format, without ids."""
    crowds = record.crowd_boxes.tolist()
    crowd_areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in crowds]
    groups = (
        (record.boxes.tolist(), record.labels.tolist(), record.areas.tolist(), record.masks, 0),
        (crowds, record.crowd_labels.tolist(), crowd_areas, record.crowd_masks, 1),
    )
    return [
        {
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area,
            "iscrowd": iscrowd,
            **_segmentation(record, mask),
        }
        for boxes, labels, areas, masks, iscrowd in groups
        for (x1, y1, x2, y2), label, area, mask in zip_longest(boxes, labels, areas, masks)
    ]


def _frame(record: ImageRecord) -> dict[str, Any]:
    if record.frame is None:
        return {}
    return {"video_id": record.frame.sequence, "frame_id": record.frame.number}


def _segmentation(record: ImageRecord, mask: Mask | None) -> dict[str, Any]:
    if mask is None:
        return {}
    return {"segmentation": as_segmentation(mask, record.width, record.height)}
