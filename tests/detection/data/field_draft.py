"""A good data set, and what changes it into the inputs that people have; see `field_cases`.

The good data set has red and blue rectangles on noise: four training and two validation images of
64x48 pixels. Each case changes it in one way.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from searchd.spec import DatasetSpec, SplitSpec

SIZE = (64, 48)
COLOURS = {1: (220, 30, 30), 2: (30, 30, 220)}
BOXES = {
    "train": [(1, 1, [4, 6, 20, 12]), (1, 2, [30, 8, 24, 30]), (2, 1, [2, 28, 16, 16])]
    + [(3, 2, [10, 10, 30, 20]), (4, 1, [40, 4, 16, 40])],
    "val": [(1, 1, [8, 4, 24, 16]), (1, 2, [36, 24, 20, 20]), (2, 2, [12, 10, 30, 30])],
}
"""Image id, category id and box of each annotation."""

ORIENTATION = 0x0112


@dataclass
class Draft:
    """A data set before it is written."""

    documents: dict[str, Any]
    """Content of train.json and val.json, by split."""
    files: dict[str, bytes]
    """Content of the image files by name."""
    raw: dict[str, bytes] = field(default_factory=dict)
    """Bytes of an annotation file, by split, instead of its document."""

    @property
    def train(self) -> dict[str, Any]:
        document: dict[str, Any] = self.documents["train"]
        return document

    def everywhere(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change every annotation of both splits."""
        for document in self.documents.values():
            for annotation in document["annotations"]:
                change(annotation)


@dataclass(frozen=True)
class Case:
    """One way in which a data set differs from the good one."""

    name: str
    expect: str
    """accept, warn (accepted with a warning or repair), or refuse."""
    word: str
    """Text that the report has to contain."""
    edit: Callable[[Draft], object]


CASES: list[Case] = []


def case(expect: str, word: str = "") -> Callable[[Callable[[Draft], object]], None]:
    """Register a case under its function's name."""

    def register(edit: Callable[[Draft], object]) -> None:
        CASES.append(Case(edit.__name__, expect, word, edit))

    return register


def good() -> Draft:
    """Return the good data set."""
    documents, files = {}, {}
    for split, boxes in BOXES.items():
        images = sorted({image for image, _, _ in boxes})
        documents[split] = {
            "images": [
                {"id": i, "file_name": f"{split}-{i}.png", "width": 64, "height": 48}
                for i in images
            ],
            "annotations": [
                {"id": n, "image_id": i, "category_id": c, "bbox": list(box), "iscrowd": 0}
                | {"area": box[2] * box[3]}
                for n, (i, c, box) in enumerate(boxes, start=1)
            ],
            "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
        }
        for image in images:
            files[f"{split}-{image}.png"] = encoded(drawn(split, image), "PNG")
    return Draft(documents, files)


def drawn(split: str, image: int) -> Image.Image:
    """Draw one image of the good data set."""
    rng = np.random.default_rng([len(split), image])
    pixels = rng.integers(90, 140, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    for of_image, category, (x, y, w, h) in BOXES[split]:
        if of_image == image:
            pixels[y : y + h, x : x + w] = COLOURS[category]
    return Image.fromarray(pixels)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return an image as bytes of a file format."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def write(draft: Draft, folder: Path) -> DatasetSpec:
    """Write a data set."""
    for name, content in draft.files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for split, document in draft.documents.items():
        content = json.dumps(document).replace("@CASE@", str(folder)).encode()
        (folder / f"{split}.json").write_bytes(draft.raw.get(split, content))
    splits = [
        SplitSpec(annotations=folder / f"{s}.json", images=folder / "images")
        for s in ("train", "val")
    ]
    return DatasetSpec(name="case", train=splits[0], validation=splits[1])


def change_annotation(draft: Draft, **values: Any) -> None:
    """Change the first annotation of the train split."""
    draft.train["annotations"][0].update(values)


def change_image(draft: Draft, **values: Any) -> None:
    """Change the first image record of the train split."""
    draft.train["images"][0].update(values)


def replace_image(draft: Draft, name: str, content: bytes) -> None:
    """Replace the first training image's file."""
    del draft.files["train-1.png"]
    draft.files[name] = content
    change_image(draft, file_name=name)


def add_annotation(draft: Draft, **values: Any) -> None:
    """Add a copy of the first annotation of the train split, with other values."""
    draft.train["annotations"].append(draft.train["annotations"][0] | {"id": 99} | values)
