"""Reads COCO-format detection splits, and checks a data set before it is used.

Boxes are xyxy in pixels of the original image, except in the annotation file, which has x, y,
width, height. Labels are 0..num_classes-1, in the order of the category ids.
"""

import json
import os
import reprlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from searchd.domain.errors import DataError
from searchd.spec import DatasetSpec, SplitSpec

MAX_CACHED_BYTES = 512 * 2**20
"""Default size of the decoded images that one split keeps in memory, in bytes."""
BORDER_PX = 1.0
"""Boxes may reach this far outside their image, in pixels, since annotation tools round. They are
clipped."""
MAX_SIDE_PX = 2**31 - 1
"""Largest width and height of an image, in pixels: more than any image format allows."""
MAX_EMPTY_SHARE = 1e-4
"""Largest share of a split's annotations whose boxes may have no area. These boxes are left out and
counted: COCO's train2017 has two (annotations 918 and 2206849). A larger share is an error."""

Document = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image and its objects. Crowds and boxes without area are left out."""

    image_id: int
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    """n x 4, xyxy, in pixels of the original image and clipped to it."""
    labels: NDArray[np.int64]
    """n, in 0..num_classes-1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSummary:
    """The contents of a checked split."""

    num_images: int
    num_annotations: int
    """Number of annotations, crowds included."""
    num_empty_boxes: int
    """Number of annotations that are left out since their box has no area."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSummary:
    """The contents of a checked data set."""

    class_names: tuple[str, ...]
    """Names of the classes, in the order of the labels."""
    train: SplitSummary
    validation: SplitSummary

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class CocoSplit:
    """A split in memory: all records, and decoded images up to `max_cached_bytes`.

    Attributes:
        spec: Paths of the split.
        records: One record per image, in the order of the annotation file.
        category_ids: COCO category id of each label.
        class_names: Name of each label.
    """

    def __init__(self, spec: SplitSpec, *, max_cached_bytes: int = MAX_CACHED_BYTES) -> None:
        """Read the annotations; images are decoded when first used.

        Raises:
            DataError: The annotation file cannot be read or is not in COCO's format. Other faults
                are found by `check_dataset`.
        """
        document = read_document(spec.annotations)
        names = {c["id"]: c["name"] for c in document["categories"]}
        self.spec = spec
        self.category_ids = tuple(sorted(names))
        self.class_names = tuple(names[i] for i in self.category_ids)
        self.records = _records(document, spec.images, self.category_ids)
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._free_bytes = max_cached_bytes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.records)

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of an image: H x W x 3, RGB. Do not write to them.

        Raises:
            DataError: The image cannot be read.
        """
        if index in self._cache:
            return self._cache[index]
        path = self.records[index].path
        try:
            with Image.open(path) as file:
                pixels = np.asarray(file.convert("RGB"))
        except OSError as error:
            raise DataError(f"{path}: the image cannot be read: {error}") from error
        if pixels.nbytes <= self._free_bytes:
            self._cache[index] = pixels
            self._free_bytes -= pixels.nbytes
        return pixels


def check_dataset(spec: DatasetSpec) -> DatasetSummary:
    """Read the whole data set, images included, and return a summary.

    Raises:
        DataError: The data set breaks a rule; the message names the file and the record. Rules:
            annotation files are in COCO's format; a split has annotations; ids are unique;
            annotations are of a known image and category; boxes have an area and are inside their
            image; images are there, can be read and have the recorded size; both splits have the
            same categories.
    """
    train, validation = (
        read_document(spec.train.annotations),
        read_document(spec.validation.annotations),
    )
    names = _check_categories(train["categories"], spec.train.annotations)
    if _check_categories(validation["categories"], spec.validation.annotations) != names:
        raise DataError(
            f"{spec.validation.annotations}: the categories differ from those of "
            f"{spec.train.annotations}; both splits need the same ids and names"
        )
    return DatasetSummary(
        class_names=tuple(names[i] for i in sorted(names)),
        train=_check_split(train, spec.train, names),
        validation=_check_split(validation, spec.validation, names),
    )


def read_document(path: Path) -> Document:
    """Return the content of an annotation file. Only its outline is checked.

    Raises:
        DataError: The file cannot be read or is not in COCO's format.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: the annotation file cannot be read: {error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: the annotation file is not JSON: {error}") from error
    for key in ("images", "annotations", "categories"):
        records = document.get(key) if isinstance(document, dict) else None
        if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
            raise DataError(f'{path}: not COCO\'s format: "{key}" must be a list of objects')
    found: Document = document
    return found


def _records(
    document: Document, images: Path, category_ids: Sequence[int]
) -> tuple[ImageRecord, ...]:
    labels = {category: label for label, category in enumerate(category_ids)}
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in document["images"]}
    for annotation in document["annotations"]:
        if not annotation.get("iscrowd", 0) and min(annotation["bbox"][2:]) > 0:
            of_image[annotation["image_id"]].append(annotation)
    return tuple(
        ImageRecord(
            image_id=image["id"],
            path=_image_path(images, image),
            width=image["width"],
            height=image["height"],
            boxes=_xyxy([a["bbox"] for a in of_image[image["id"]]], image),
            labels=np.array([labels[a["category_id"]] for a in of_image[image["id"]]], np.int64),
        )
        for image in document["images"]
    )


def _image_path(images: Path, image: Mapping[str, Any]) -> Path:
    """Return the path of an image. Annotation files come from users and must not name other files.

    Raises:
        DataError: The path is outside the folder.
    """
    name = PurePath(image["file_name"])
    if name.is_absolute() or ".." in name.parts:
        raise DataError(
            f"image {image['id']}: file_name={str(name)!r} is outside the image folder {images}; "
            "give a path below it"
        )
    return images / name


def _xyxy(boxes: list[list[float]], image: Mapping[str, Any]) -> NDArray[np.float32]:
    """Convert boxes from x, y, width, height to xyxy, n x 4, clipped to the image."""
    array = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    size = [image["width"], image["height"]] * 2
    return np.asarray(np.clip(array, 0, np.asarray(size, dtype=np.float32)))


def _check_categories(categories: Sequence[Mapping[str, Any]], file: Path) -> dict[int, str]:
    """Check the categories, and return their names by id."""
    if not categories:
        raise DataError(f"{file}: there are no categories")
    _check_ids(categories, "category", file)
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise DataError(f"{file}: category {category['id']} has no name")
    return {category["id"]: category["name"] for category in categories}


def _check_split(document: Document, spec: SplitSpec, names: Mapping[int, str]) -> SplitSummary:
    file, annotations = spec.annotations, document["annotations"]
    _check_ids(document["images"], "image", file)
    _check_ids(annotations, "annotation", file)
    images = {image["id"]: image for image in document["images"]}
    for image in images.values():
        _check_image_record(image, file)
    empty = [a for a in annotations if _is_empty_box(a, images, names, file)]
    if all(a.get("iscrowd", 0) for a in annotations):
        raise DataError(f"{file}: there are no annotations (crowds do not count)")
    if len(empty) > MAX_EMPTY_SHARE * len(annotations):
        raise DataError(
            f"{file}: annotation {empty[0]['id']}: bbox {empty[0]['bbox']} must have positive "
            f"width and height; {len(empty)} of {len(annotations)} boxes have none; remove them"
        )
    _check_image_files(images.values(), spec)
    return SplitSummary(
        num_images=len(images), num_annotations=len(annotations), num_empty_boxes=len(empty)
    )


def _check_ids(records: Sequence[Mapping[str, Any]], kind: str, file: Path) -> None:
    seen: set[int] = set()
    for number, record in enumerate(records):
        identity = record.get("id")
        if not isinstance(identity, int):
            raise DataError(f"{file}: {kind} number {number} has no integer id: {identity!r}")
        if identity in seen:
            raise DataError(f"{file}: {kind} id {identity} occurs twice; ids must be unique")
        seen.add(identity)


def _check_image_record(image: Mapping[str, Any], file: Path) -> None:
    if not isinstance(image.get("file_name"), str):
        raise DataError(f"{file}: image {image['id']} has no file_name")
    for side in ("width", "height"):
        value = image.get(side)
        if not isinstance(value, int) or not 1 <= value <= MAX_SIDE_PX:
            raise DataError(
                f"{file}: image {image['id']}: {side}={_shown(value)} must be a whole number > 0"
            )


def _is_empty_box(
    annotation: Mapping[str, Any],
    images: Mapping[int, Mapping[str, Any]],
    names: Mapping[int, str],
    file: Path,
) -> bool:
    """Check one annotation, and return whether its box has no area."""
    where = f"{file}: annotation {annotation['id']}"
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    if not isinstance(image_id, int) or image_id not in images:
        raise DataError(f"{where}: there is no image {_shown(image_id)}")
    if not isinstance(category_id, int) or category_id not in names:
        raise DataError(f"{where}: there is no category {_shown(category_id)}")
    image, box = images[image_id], annotation.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
        raise DataError(f"{where}: bbox {_shown(box)} must be four numbers: x, y, width, height")
    x, y, width, height = box
    if (
        min(x, y, x + width, y + height) < -BORDER_PX
        or max(x, x + width) > image["width"] + BORDER_PX
        or max(y, y + height) > image["height"] + BORDER_PX
    ):
        raise DataError(
            f"{where}: bbox {box} reaches outside image {image['id']} "
            f"({image['width']}x{image['height']} pixels); clip it"
        )
    return bool(min(width, height) <= 0)


def _is_finite(value: object) -> bool:
    # `math.isfinite` fails for whole numbers that are too large for a float.
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def _shown(value: object) -> str:
    """Return a short text of a value for messages."""
    return reprlib.repr(value)


def _check_image_files(images: Iterable[Mapping[str, Any]], spec: SplitSpec) -> None:
    """Decode every image, which finds truncated files. Uses threads, as decoding is C code."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        checks = [threads.submit(_check_image_file, image, spec) for image in images]
        try:
            for check in checks:
                check.result()
        finally:
            threads.shutdown(cancel_futures=True)


def _check_image_file(image: Mapping[str, Any], spec: SplitSpec) -> None:
    path, where = _image_path(spec.images, image), f"{spec.annotations}: image {image['id']}"
    try:
        with Image.open(path) as file:
            size = file.size
            file.draft("RGB", (1, 1))  # JPEG only: reads the whole file, decodes at an eighth
            file.load()
    except FileNotFoundError as error:
        raise DataError(f"{where}: the image file is missing: {path}") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: the image cannot be read: {path}: {error}") from error
    if size != (image["width"], image["height"]):
        raise DataError(
            f"{where}: {path} has {size[0]}x{size[1]} pixels, "
            f"the record says {image['width']}x{image['height']}"
        )
