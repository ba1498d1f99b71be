"""A hand-made COCO data set of two images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from searchd.spec import DatasetSpec, SplitSpec

Edit = Callable[[dict[str, Any]], object]
MakeDataset = Callable[..., DatasetSpec]


def document() -> dict[str, Any]:
    """Image 7 of 40x20 pixels with two objects and a crowd, image 3 of 30x60 with one."""
    return {
        "images": [
            {"id": 7, "file_name": "wide.png", "width": 40, "height": 20},
            {"id": 3, "file_name": "tall.jpg", "width": 30, "height": 60},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [0, 0, 10, 5], "area": 50},
            {"id": 2, "image_id": 3, "category_id": 5, "bbox": [3, 6, 12, 30], "area": 360},
            {"id": 3, "image_id": 7, "category_id": 5, "bbox": [20, 10, 20, 10], "area": 200},
            {
                "id": 4,
                "image_id": 7,
                "category_id": 5,
                "bbox": [0, 0, 40, 20],
                "area": 800,
                "iscrowd": 1,
            },
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 5, "name": "aeroplane"}],
    }


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """Write the data set, its train split as `edit` leaves it."""

    def make(edit: Edit = lambda _: None) -> DatasetSpec:
        rng = np.random.default_rng(0)
        for split in ("train", "validation"):
            folder = tmp_path / split
            folder.mkdir(exist_ok=True)
            for name, (width, height) in (("wide.png", (40, 20)), ("tall.jpg", (30, 60))):
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name)
            content = document()
            if split == "train":
                edit(content)
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
        return DatasetSpec(name="two", train=_split("train"), validation=_split("validation"))

    def _split(name: str) -> SplitSpec:
        return SplitSpec(annotations=tmp_path / f"{name}.json", images=tmp_path / name)

    return make
