"""Draws `shapes`, a synthetic detection data set in COCO format, from a seed.

It has textured images with circles, squares, triangles, ... of varied size, angle and colour, each
with its box and its mask. The same arguments draw the same files, and image k of a split does not
depend on the number of images.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detection.data.masks import Mask, as_segmentation, encoded
from searchd.domain.errors import InvalidValueError
from searchd.spec import DatasetSpec, SplitSpec

CLASSES = ("circle", "square", "triangle", "cross", "star", "ring")
SMALLEST, LARGEST = 0.14, 0.45
"""Smallest and largest side of an object, as a share of the image's side."""
PLACEMENT_TRIES = 10
"""Number of places that are tried for an object. If none is free, the object is left out."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """One object, as COCO records it."""

    label: int
    """Index into `CLASSES`."""
    box: tuple[int, int, int, int]
    """x, y, width, height in pixels: the tight box around all its pixels, hidden ones included."""
    area: int
    """Number of its pixels, hidden ones included."""
    mask: Mask
    """Its pixels, hidden ones included."""


def make_shapes(
    folder: Path,
    *,
    name: str = "shapes",
    seed: int = 0,
    num_train: int = 256,
    num_validation: int = 64,
    num_test: int = 0,
    image_size: int = 96,
    num_classes: int = 4,
    max_objects: int = 4,
    difficulty: float = 0.3,
) -> DatasetSpec:
    """Draw the data set into `folder`, which is created if missing. Files are overwritten.

    Args:
        folder: Folder for `train/`, `validation/`, `test/` (PNG images) and `annotations/` (JSON).
        name: The data set's name in the returned spec.
        seed: Seed of every draw.
        num_train: Number of images of the train split.
        num_validation: Number of images of the validation split.
        num_test: Number of images of the test split. 0: there is none.
        image_size: Width and height of every image, in pixels.
        num_classes: Number of classes, 1 to 6: the first ones of `CLASSES`.
        max_objects: Largest number of objects per image; at least one is drawn.
        difficulty: From 0 (clean, high contrast, apart) to 1 (noisy, faint, overlapping).

    Raises:
        InvalidValueError: An argument is outside its range.
    """
    _check(num_train, num_validation, num_test, image_size, num_classes, max_objects, difficulty)
    splits = {}
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    for number, (split, num_images) in enumerate(sizes.items()):
        if num_images == 0:
            continue
        images = folder / split
        images.mkdir(parents=True, exist_ok=True)
        drawn = []
        for index in range(num_images):
            rng = np.random.default_rng((seed, number, index))
            pixels, objects = draw_image(rng, image_size, num_classes, max_objects, difficulty)
            Image.fromarray(pixels).save(images / f"{index:06d}.png", compress_level=1)
            drawn.append(objects)
        annotations = folder / "annotations" / f"{split}.json"
        annotations.parent.mkdir(exist_ok=True)
        annotations.write_text(json.dumps(_coco(drawn, image_size, num_classes)))
        splits[split] = SplitSpec(annotations=annotations, images=images)
    return DatasetSpec(name=name, **splits)


def draw_image(
    rng: np.random.Generator,
    image_size: int,
    num_classes: int,
    max_objects: int,
    difficulty: float,
) -> tuple[NDArray[np.uint8], list[DrawnObject]]:
    """Draw one image.

    Returns:
        H x W x 3 RGB pixels, and its objects from the lowest layer to the highest.
    """
    canvas = _background(rng, image_size)
    objects: list[DrawnObject] = []
    for _ in range(int(rng.integers(1, max_objects + 1))):
        label = int(rng.integers(num_classes))
        drawn = _draw_object(rng, canvas, label, [o.box for o in objects], difficulty)
        if drawn is not None:
            objects.append(drawn)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32)
    canvas += (4 + 36 * difficulty) * noise
    return canvas.clip(0, 255).astype(np.uint8), objects


def _background(rng: np.random.Generator, size: int) -> Floats:
    """Draw a smooth random colour field with a grating, size x size x 3 in 0..255."""
    coarse = Image.fromarray(rng.integers(40, 216, (5, 5, 3), dtype=np.uint8))
    field = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(0.05, 0.2) * size
    ys, xs = np.mgrid[:size, :size].astype(np.float32)
    wave = np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * 2 * np.pi / period)
    return np.asarray(field + 15 * wave[..., None], dtype=np.float32)


def _draw_object(
    rng: np.random.Generator,
    canvas: Floats,
    label: int,
    taken: list[tuple[int, int, int, int]],
    difficulty: float,
) -> DrawnObject | None:
    """Draw one object into `canvas` where it overlaps the `taken` boxes little; None if nowhere."""
    image_size = canvas.shape[0]
    side = max(4, round(image_size * SMALLEST * (LARGEST / SMALLEST) ** rng.uniform()))
    cover = _coverage(CLASSES[label], side, rng.uniform(0, 2 * np.pi))
    solid = cover >= 0.5
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    for _ in range(PLACEMENT_TRIES):
        left, top = (int(v) for v in rng.integers(0, image_size - side + 1, 2))
        box = (
            left + int(columns[0]),
            top + int(rows[0]),
            int(columns[-1] - columns[0] + 1),
            int(rows[-1] - rows[0] + 1),
        )
        if all(_overlap(box, other) <= 0.02 + 0.4 * difficulty for other in taken):
            patch = canvas[top : top + side, left : left + side]
            patch += cover[..., None] * (_colour(rng, patch, difficulty) - patch)
            mask = np.zeros((image_size, image_size), dtype=np.bool_)
            mask[top : top + side, left : left + side] = solid
            return DrawnObject(label, box, int(solid.sum()), encoded(mask))
    return None


def _colour(rng: np.random.Generator, patch: Floats, difficulty: float) -> Floats:
    """Draw a colour that differs from the patch's mean in every channel, less if difficult."""
    mean = patch.mean(axis=(0, 1))
    contrast = (150 - 105 * difficulty) * rng.uniform(0.5, 1, 3)
    return np.asarray(np.where(mean > 127, mean - contrast, mean + contrast), dtype=np.float32)


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Return the intersection over the smaller box; boxes are x, y, width, height."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(a[2] * a[3], b[2] * b[3])


def _coverage(shape: str, side: int, angle: float) -> Floats:
    """Return the share of each pixel of a side x side square that a shape covers, 0 to 1."""
    samples = 2 * side
    grid = (np.arange(samples, dtype=np.float32) + 0.5) / side - 1
    x, y = grid[None, :], grid[:, None]
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    inside = _inside(shape, u, v).astype(np.float32)
    return np.asarray(inside.reshape(side, 2, side, 2).mean(axis=(1, 3)), dtype=np.float32)


def _inside(shape: str, u: Floats, v: Floats) -> NDArray[np.bool_]:
    """Return which points of the unit disc (u, v in -1..1) belong to the shape."""
    radius = np.hypot(u, v)
    disc = radius <= 1
    match shape:
        case "circle":
            return disc
        case "square":
            return np.maximum(abs(u), abs(v)) <= np.float32(np.sqrt(0.5))
        case "triangle":
            edges = (u * np.cos(t) + v * np.sin(t) for t in np.arange(3) * 2 * np.pi / 3)
            return np.maximum.reduce(list(edges)) <= 0.5
        case "cross":
            return disc & (np.minimum(abs(u), abs(v)) <= 0.25)
        case "star":
            return _inside_star(radius, np.arctan2(v, u))
        case "ring":
            return disc & (radius >= 0.6)
    raise AssertionError(f"no such shape: {shape}")


def _inside_star(radius: Floats, angle: Floats) -> NDArray[np.bool_]:
    """Return which points belong to a star of five points, with notches at radius 0.45."""
    half = np.pi / 5
    folded = np.abs(np.mod(angle + half, 2 * half) - half)  # 0 at a point, half at a notch
    notch_x, notch_y = 0.45 * np.cos(half), 0.45 * np.sin(half)
    x, y = radius * np.cos(folded), radius * np.sin(folded)
    inner: NDArray[np.bool_] = (notch_x - 1) * y - notch_y * (x - 1) >= 0
    return inner


def _coco(
    drawn: list[list[DrawnObject]], image_size: int, num_classes: int
) -> dict[str, list[dict[str, object]]]:
    """Return the COCO instances document of a split."""
    return {
        "images": [
            {"id": i, "file_name": f"{i:06d}.png", "width": image_size, "height": image_size}
            for i in range(len(drawn))
        ],
        "annotations": [
            {"id": number, **record}
            for number, record in enumerate(_annotations(drawn, image_size), start=1)
        ],
        "categories": [{"id": i + 1, "name": CLASSES[i]} for i in range(num_classes)],
    }


def _annotations(drawn: list[list[DrawnObject]], image_size: int) -> Iterator[dict[str, object]]:
    for image_id, objects in enumerate(drawn):
        for item in objects:
            yield {
                "image_id": image_id,
                "category_id": item.label + 1,
                "bbox": list(item.box),
                "area": item.area,
                "iscrowd": 0,
                "segmentation": as_segmentation(item.mask, image_size, image_size),
            }


def _check(
    num_train: int,
    num_validation: int,
    num_test: int,
    image_size: int,
    num_classes: int,
    max_objects: int,
    difficulty: float,
) -> None:
    for argument, value, low, high in (
        ("num_train", num_train, 1, 1_000_000),
        ("num_validation", num_validation, 1, 1_000_000),
        ("num_test", num_test, 0, 1_000_000),
        ("image_size", image_size, 32, 4096),
        ("num_classes", num_classes, 1, len(CLASSES)),
        ("max_objects", max_objects, 1, 50),
        ("difficulty", difficulty, 0, 1),
    ):
        if not low <= value <= high:
            raise InvalidValueError(f"{argument}={value} must lie between {low} and {high}")
