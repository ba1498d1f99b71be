"""Sequences without pixels, for tests of streams: an annotation file in COCO's form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detection.data.coco import CocoSplit
from searchd.spec import SplitSpec

Box = Sequence[float]
"""x, y, width, height in pixels."""


def write_stream(
    folder: Path, sequences: Sequence[Sequence[Sequence[Box]]], *, first_frame: int = 0
) -> SplitSpec:
    """Write sequences of frames of 200 x 100 pixels with the boxes of one class.

    Args:
        folder: Where `stream.json` is written.
        sequences: The boxes of every frame of every sequence.
        first_frame: Number of the first frame of each.
    """
    frames = [
        (sequence, number, boxes)
        for sequence, members in enumerate(sequences)
        for number, boxes in enumerate(members, start=first_frame)
    ]
    images = [
        {"id": i, "file_name": f"{sequence}/{number}.png", "width": 200, "height": 100}
        | {"video_id": sequence, "frame_id": number}
        for i, (sequence, number, _) in enumerate(frames)
    ]
    objects: list[dict[str, Any]] = [
        {"image_id": i, "category_id": 0, "bbox": list(box), "iscrowd": 0, "area": box[2] * box[3]}
        for i, (_, _, boxes) in enumerate(frames)
        for box in boxes
    ]
    document = {
        "images": images,
        "annotations": [{"id": i, **each} for i, each in enumerate(objects)],
        "categories": [{"id": 0, "name": "car"}],
    }
    (folder / "stream.json").write_text(json.dumps(document))
    return SplitSpec(annotations=folder / "stream.json", images=folder)


def stream_of(
    folder: Path, sequences: Sequence[Sequence[Sequence[Box]]], *, first_frame: int = 0
) -> CocoSplit:
    """Return such a split in memory."""
    return CocoSplit(write_stream(folder, sequences, first_frame=first_frame))
