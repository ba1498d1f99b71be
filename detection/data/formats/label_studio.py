"""Reads Label Studio's own JSON export: a list of tasks, with boxes in percent of the image.

The image is meant as it is shown. Label Studio's exports in other formats are read as those.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from detection.data import kinds
from detection.data.findings import shown
from detection.data.formats.rotation import around, rotated
from detection.data.formats.sources import (
    IMAGE_SUFFIXES,
    TRAIN,
    FileIndex,
    Objects,
    SplitSource,
    common_folder,
    files_below,
)
from detection.data.image_files import shown_size
from searchd.domain.errors import DataError

_LABELS = ("rectanglelabels", "polygonlabels", "labels")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""Prefix that Label Studio puts in front of the names of uploaded files."""


def label_studio_sources(paths: Sequence[Path]) -> dict[str, SplitSource]:
    """Return the data set of an export, as one split.

    Args:
        paths: The JSON file and the image folder, or a folder with both.

    Raises:
        DataError: There is no file in this format.
    """
    files = [p for path in paths for p in (files_below(path) if path.is_dir() else [path])]
    export = next((path for path in files if is_label_studio_file(path)), None)
    if export is None:
        raise DataError(f"{paths[0]}: there is no JSON export of Label Studio")
    if len(paths) == 1 and not paths[0].is_dir():
        files = files_below(export.parent)
    tasks = json.loads(export.read_bytes())
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    return {TRAIN: _split(export, tasks, images)}


def is_label_studio_file(path: Path) -> bool:
    """Return whether a file is an export of Label Studio in its own format."""
    if path.suffix != ".json":
        return False
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    is_list = isinstance(content, list) and bool(content)
    return is_list and all(isinstance(t, dict) and isinstance(t.get("data"), dict) for t in content)


def _split(export: Path, tasks: Sequence[Mapping[str, Any]], images: Sequence[Path]) -> SplitSource:
    shapes = {number: list(_shapes(task)) for number, task in enumerate(tasks)}
    names = sorted({name for found in shapes.values() for each in found if (name := _label(each))})
    labels = {name: identity for identity, name in enumerate(names, start=1)}
    index = FileIndex(images)
    places = [_image_of(task, export, index) for task in tasks]
    objects = Objects(folder=common_folder(places, export.parent))
    for number, (task, image) in enumerate(zip(tasks, places, strict=True)):
        where = f"task {task.get('id', number)}"
        if not any(True for _ in _annotations(task)):
            objects.findings.add(kinds.NOT_ANNOTATED, export, where, "has no annotation")
            continue
        size = shown_size(image) or (1, 1)
        identity = objects.add_image(image, size)
        for position, shape in enumerate(shapes[number], start=1):
            _add_shape(
                objects, identity, shape, labels, size, (export, f"{where}, result {position}")
            )
    return objects.source(export, {identity: name for name, identity in labels.items()})


def _annotations(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the annotations of a task that were not cancelled."""
    for annotation in task.get("annotations") or ():
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            yield annotation


def _shapes(task: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the labelled shapes of a task's last annotation."""
    annotations = list(_annotations(task))
    for result in annotations[-1].get("result") or () if annotations else ():
        value = result.get("value") if isinstance(result, dict) else None
        if isinstance(value, dict) and ("width" in value or "points" in value):
            yield value


def _label(value: Mapping[str, Any]) -> str | None:
    """Return the class of a shape; None if it has none."""
    found = next((value[key] for key in _LABELS if value.get(key)), None)
    first = found[0] if isinstance(found, list) else None
    return first if isinstance(first, str) else None


def _image_of(task: Mapping[str, Any], export: Path, index: FileIndex) -> Path:
    """Return the image of a task by its address, with or without the prefix of an upload."""
    address = next((v for v in task["data"].values() if _is_image(v)), "")
    query = parse_qs(urlsplit(address).query).get("d", [""])[0]
    name = unquote(query or urlsplit(address).path)
    parent, _, last = name.rpartition("/")
    found = index.find(name) or index.find(f"{parent}/{_UPLOAD.sub('', last)}")
    return found or export.parent / (last or "unknown")


def _is_image(value: object) -> bool:
    if not isinstance(value, str):
        return False
    places = (value, urlsplit(value).path)
    return any(PurePosixPath(place).suffix.lower() in IMAGE_SUFFIXES for place in places)


def _add_shape(
    objects: Objects,
    image: int,
    value: Mapping[str, Any],
    labels: Mapping[str, int],
    size: tuple[int, int],
    place: tuple[Path, str],
) -> None:
    name = _label(value)
    try:
        box, is_turned = _box(value, size)
    except (KeyError, TypeError, ValueError) as error:
        problem = f"has no usable coordinates: {error}"
        objects.findings.add(kinds.SOURCE_OBJECT, *place, problem, value=shown(value))
        return
    if name is None:
        objects.findings.add(kinds.SOURCE_OBJECT, *place, "has no label", value=shown(value))
        return
    if is_turned:
        objects.findings.add(kinds.POLYGON, *place, "is a polygon or turned")
    polygon = _points(value, size) if "points" in value else ()
    objects.add_box(image, labels[name], box, place=place, polygon=polygon)


def _box(value: Mapping[str, Any], size: tuple[int, int]) -> tuple[list[float], bool]:
    """Return x, y, width, height in pixels, and whether the shape was no upright box."""
    scale_x, scale_y = size[0] / 100, size[1] / 100
    if "points" in value:
        return around(_points(value, size)), True
    x, y = float(value["x"]) * scale_x, float(value["y"]) * scale_y
    box = [x, y, float(value["width"]) * scale_x, float(value["height"]) * scale_y]
    degrees = float(value.get("rotation") or 0)
    return (around(rotated(box, degrees, (x, y))), True) if degrees else (box, False)


def _points(value: Mapping[str, Any], size: tuple[int, int]) -> list[tuple[float, float]]:
    """Return the corners (x, y) of a polygon in pixels."""
    return [(x * (size[0] / 100), y * (size[1] / 100)) for x, y in value["points"]]
