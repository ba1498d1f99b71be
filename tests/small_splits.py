"""A split of two images on disk, for tests that only need some data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from searchd.spec import SplitSpec


def write_split(folder: Path, boxes: Mapping[str, Sequence[float]]) -> SplitSpec:
    """Write two grey images of 64 x 64 pixels; each has one object of every class.

    Args:
        folder: A folder that does not exist.
        boxes: x, y, width and height of the object of each class, in pixels.
    """
    folder.mkdir(parents=True)
    images = [
        {"id": number, "file_name": f"{number}.png", "width": 64, "height": 64} for number in (1, 2)
    ]
    for image in images:
        Image.new("RGB", (64, 64), "gray").save(folder / str(image["file_name"]))
    objects = [
        {"image_id": image["id"], "category_id": label, "bbox": list(box), "area": box[2] * box[3]}
        for image in images
        for label, box in enumerate(boxes.values(), start=1)
    ]
    document = {
        "images": images,
        "categories": [{"id": label, "name": name} for label, name in enumerate(boxes, start=1)],
        "annotations": [{"id": i, "iscrowd": 0, **each} for i, each in enumerate(objects, start=1)],
    }
    (folder / "annotations.json").write_text(json.dumps(document))
    return SplitSpec(annotations=folder / "annotations.json", images=folder)
