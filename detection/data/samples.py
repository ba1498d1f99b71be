"""Sample images of a checked data set, and their drawing with boxes."""

import colorsys
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detection.data.image_files import read_pixels
from detection.data.records import ImageRecord, NormalisedSplit
from searchd.domain.errors import DataError

NUM_SAMPLES: Mapping[str, int] = {"train": 8, "validation": 4, "test": 4}
"""Number of sample images of each split."""
MAX_OBJECTS = 300
"""Number of objects of a sample that are recorded and drawn at most."""
_TURN = 0.618
"""Step between the hues of two labels, in turns of the colour circle: far for neighbours."""
_JPEG_QUALITY = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleObject:
    """One object of a sample image."""

    class_name: str
    label: int
    """Number of the class, in 0..num_classes-1."""
    bbox: tuple[float, float, float, float]
    """x, y, width, height in pixels of the image as shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image of a split with its objects, without crowds."""

    split: str
    path: str
    """Path of the image file."""
    width: int
    """Width as shown, in pixels."""
    height: int
    num_objects: int
    """Number of all objects of the image."""
    objects: tuple[SampleObject, ...]
    """The first `MAX_OBJECTS` objects."""


def choose_samples(splits: Mapping[str, NormalisedSplit]) -> tuple[Sample, ...]:
    """Return images with objects, spread evenly over each split; the same for the same splits."""
    return tuple(
        _sample(name, record, split.class_names)
        for name, split in splits.items()
        for record in spread(split.records, NUM_SAMPLES.get(name, 0))
    )


def spread(records: Sequence[ImageRecord], number: int) -> list[ImageRecord]:
    """Return `number` records with objects, or all, spread evenly over all records."""
    usable = [record for record in records if len(record.labels)]
    chosen = sorted({round(i) for i in np.linspace(0, len(usable) - 1, min(number, len(usable)))})
    return [usable[index] for index in chosen]


def draw_sample(sample: Sample, *, max_side_px: int, boxes: bool = True) -> bytes:
    """Return the image as a JPEG file.

    Args:
        sample: The image and its objects.
        max_side_px: Largest width and height of the drawing; larger images are made smaller.
        boxes: Whether the boxes and class names are drawn.

    Raises:
        DataError: The image is missing, cannot be read, or has changed its size since the check.
    """
    try:
        pixels = read_pixels(Path(sample.path))
    except FileNotFoundError as error:
        raise DataError(f"{sample.path}: the image is missing") from error
    if pixels.shape[:2] != (sample.height, sample.width):
        raise DataError(
            f"{sample.path}: the image has {pixels.shape[1]}x{pixels.shape[0]} pixels, at the "
            f"check it had {sample.width}x{sample.height}; check the data set again"
        )
    image = Image.fromarray(pixels)
    image.thumbnail((max_side_px, max_side_px))
    scale = np.array([image.width / sample.width, image.height / sample.height] * 2)
    canvas = ImageDraw.Draw(image)
    for each in sample.objects if boxes else ():
        _draw(canvas, each, scale)
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _sample(split: str, record: ImageRecord, class_names: Sequence[str]) -> Sample:
    pairs = list(zip(record.boxes.tolist(), record.labels.tolist(), strict=True))
    objects = tuple(
        SampleObject(
            class_name=class_names[label],
            label=label,
            bbox=(round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)),
        )
        for (x1, y1, x2, y2), label in pairs[:MAX_OBJECTS]
    )
    return Sample(
        split=split,
        path=str(record.path),
        width=record.width,
        height=record.height,
        num_objects=len(pairs),
        objects=objects,
    )


def _draw(canvas: ImageDraw.ImageDraw, shown: SampleObject, scale: np.ndarray) -> None:
    x, y, width, height = (np.array(shown.bbox) * scale).tolist()
    colour = _colour(shown.label)
    canvas.rectangle((x, y, x + width, y + height), outline=colour, width=2)
    font = ImageFont.load_default(12)
    place = (x + 2, max(0.0, y - 14))
    canvas.rectangle(canvas.textbbox(place, shown.class_name, font=font), fill=colour)
    canvas.text(place, shown.class_name, fill="black", font=font)


def _colour(label: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label * _TURN % 1, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)
