"""Reads YOLO data sets of Ultralytics, Roboflow, Darknet, CVAT and Label Studio.

A label file has a line per object: class, then centre and size in 0..1 of the image as shown, or
the corners of a polygon, which becomes its box and its mask. An image without a label file has no
objects.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from detection.data import kinds
from detection.data.findings import shown
from detection.data.formats.rotation import around
from detection.data.formats.sources import Objects, SplitSource, common_folder
from detection.data.formats.yolo_layouts import YoloLayout, find_layout
from detection.data.image_files import shown_size

MAX_NUMBER = 1.5
"""Largest number of a label that can be meant as a share of the image's side."""
_BOX, _BOX_AND_SCORE = 5, 6
"""Numbers of a line with a box."""


def yolo_sources(paths: Sequence[Path], root: Path | None = None) -> dict[str, SplitSource]:
    """Return the splits of a YOLO data set.

    Args:
        paths: Its folder, `data.yaml` or `.data` file.
        root: Folder that configuration files must not lead out of, links followed.

    Raises:
        DataError: There are no class names or no images, or a path leads out of `root`.
    """
    layout = find_layout(paths[0], root)
    sources = {name: _split(images, layout) for name, images in layout.splits.items()}
    images = [image for split in layout.splits.values() for image in split]
    findings = next(iter(sources.values())).findings
    if findings is not None:
        for file in _without_image(images):
            findings.add(kinds.LABELS_WITHOUT_IMAGE, file, "", "there is no image for it")
    return sources


def label_file(image: Path) -> Path:
    """Return the label file of an image: in `labels` instead of `images`, or beside the image."""
    parts = image.parts
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            moved = Path(*parts[:index], "labels", *parts[index + 1 :]).with_suffix(".txt")
            if moved.exists():
                return moved
    return image.with_suffix(".txt")


def _without_image(images: Sequence[Path]) -> list[Path]:
    """Return the label files beside those that are read which belong to no image."""
    read = {label_file(image) for image in images}
    folders = {file.parent for file in read if file.parent.name != "images" and file.is_file()}
    beside = {image.parent for image in images}  # also holds lists and names
    return sorted(
        file
        for folder in folders - beside
        for file in folder.glob("*.txt")
        if file not in read and file.name != "classes.txt"
    )


def _split(images: Sequence[Path], layout: YoloLayout) -> SplitSource:
    objects = Objects(folder=common_folder(images, layout.file.parent))
    for path in images:
        size = shown_size(path)
        identity = objects.add_image(path, size or (1, 1))
        if size is not None:  # the check reports images that cannot be read
            _add_labels(objects, identity, label_file(path), size, layout.names)
    return objects.source(layout.file, layout.names)


def _add_labels(
    objects: Objects, image: int, file: Path, size: tuple[int, int], names: Mapping[int, str]
) -> None:
    for number, line in _lines(objects, file):
        record = f"line {number}"
        problem = _problem(line, names)
        if problem:
            value = " ".join(line)
            objects.findings.add(kinds.LABEL_LINE, file, record, problem, value=value)
            continue
        polygon = _polygon(line, size)
        if polygon:
            objects.findings.add(kinds.POLYGON, file, record, "has a polygon")
        box = around(polygon) if polygon else _box([float(number) for number in line[1:]], size)
        label = int(float(line[0]))
        objects.add_box(image, label, box, place=(file, record), polygon=polygon)


def _lines(objects: Objects, file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the words of each line that is not empty, with its number from 1."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        objects.findings.add(kinds.SOURCE_FILE, file, "", f"the file cannot be read: {error}")
        return
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if words:
            yield number, words


def _problem(words: Sequence[str], names: Mapping[int, str]) -> str:
    """Return what is wrong with the words of a line; empty if nothing is."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return f"{shown(' '.join(words))} must be numbers"
    if not all(math.isfinite(number) for number in numbers):
        return f"{shown(' '.join(words))} must be finite numbers"
    if not numbers[0].is_integer() or int(numbers[0]) not in names:
        return f"class {words[0]} is not one of the {len(names)} classes"
    is_polygon = len(numbers) > _BOX_AND_SCORE and len(numbers) % 2 == 1
    if len(numbers) not in (_BOX, _BOX_AND_SCORE) and not is_polygon:
        return f"has {len(numbers)} numbers instead of {_BOX}"
    if max(map(abs, numbers[1:_BOX])) > MAX_NUMBER:
        return f"{shown(' '.join(words))} must be in 0..1; are they pixels?"
    return ""


def _polygon(line: Sequence[str], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the corners (x, y) of a line's polygon in pixels; none if it has a box."""
    if len(line) <= _BOX_AND_SCORE:
        return []
    numbers = [float(number) for number in line[1:]]
    width, height = size
    return [(x * width, y * height) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]


def _box(numbers: Sequence[float], size: tuple[int, int]) -> list[float]:
    """Return x, y, width, height in pixels of a box."""
    width, height = size
    x, y, w, h = numbers[:4]
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
