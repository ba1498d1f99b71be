"""Reads "CVAT for images": one XML file with all images, and the images near it.

Coordinates are in pixels from 0, between pixels. Rotated boxes and polygons become the boxes around
them, and a polygon is the object's mask. CVAT's exports in other formats are read as those.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from detection.data import kinds
from detection.data.findings import shown
from detection.data.formats.rotation import around, rotated
from detection.data.formats.sources import (
    TRAIN,
    FileIndex,
    Objects,
    SplitSource,
    common_folder,
    files_below,
    split_name,
)
from detection.data.formats.xml_files import read_xml, root_tag
from detection.data.image_files import shown_size
from searchd.domain.errors import DataError

_SHAPES = ("box", "polygon")


def cvat_sources(paths: Sequence[Path]) -> dict[str, SplitSource]:
    """Return the splits of a CVAT export: its subsets, or one.

    Args:
        paths: Its folder, or the XML file and the image folder.

    Raises:
        DataError: There is no file in this format.
    """
    files = [p for path in paths for p in (files_below(path) if path.is_dir() else [path])]
    exports = [path for path in files if path.suffix == ".xml" and is_cvat_file(path)]
    if not exports:
        raise DataError(f'{paths[0]}: there is no XML file in the format "CVAT for images"')
    folders = [path for path in paths if path.is_dir()] or [exports[0].parent]
    roots = {path: read_xml(path) for path in exports}
    names = {shape.get("label", "") for root in roots.values() for shape in _shapes(root)} - {""}
    categories = dict(enumerate(sorted(names), start=1))
    splits: dict[str, list[tuple[Path, ElementTree.Element]]] = {}
    for path, root in roots.items():
        for image in root.iter("image"):
            subset = split_name(image.get("subset", "")) or TRAIN
            splits.setdefault(subset, []).append((path, image))
    index = FileIndex(files)
    return {n: _split(images, folders, categories, index) for n, images in splits.items()}


def is_cvat_file(path: Path) -> bool:
    """Return whether a file is an export of CVAT in its own format."""
    return root_tag(path) == "annotations"


def _shapes(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [shape for image in root.iter("image") for shape in image if shape.tag in _SHAPES]


def _split(
    images: Sequence[tuple[Path, ElementTree.Element]],
    folders: Sequence[Path],
    categories: Mapping[int, str],
    index: FileIndex,
) -> SplitSource:
    places = [_image_of(path, image, index) for path, image in images]
    objects = Objects(folder=common_folder(places, folders[0]))
    labels = {name: identity for identity, name in categories.items()}
    for place, (path, image) in zip(places, images, strict=True):
        identity = objects.add_image(place, _size(image) or shown_size(place) or (1, 1))
        shapes = [shape for shape in image if shape.tag in _SHAPES]
        for number, shape in enumerate(shapes, start=1):
            record = f"image {image.get('name')}, {shape.tag} {number}"
            _add_shape(objects, identity, shape, labels, (path, record))
    return objects.source(images[0][0], categories)


def _image_of(path: Path, image: ElementTree.Element, index: FileIndex) -> Path:
    """Return the file of an image, preferably below a folder of its subset."""
    name = image.get("name", "").replace("\\", "/").lstrip("/")
    found = index.find(f"{image.get('subset', '')}/{name}")
    return found or path.parent / "images" / name


def _size(image: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = int(image.get("width", "0")), int(image.get("height", "0"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _add_shape(
    objects: Objects,
    image: int,
    shape: ElementTree.Element,
    labels: Mapping[str, int],
    place: tuple[Path, str],
) -> None:
    label = shape.get("label", "")
    try:
        box, is_turned = _box(shape)
    except (ValueError, KeyError) as error:
        problem = f"has no usable coordinates: {error}"
        objects.findings.add(kinds.SOURCE_OBJECT, *place, problem, value=shown(shape.attrib))
        return
    if is_turned:
        objects.findings.add(kinds.POLYGON, *place, "is a polygon or turned")
    if label not in labels:
        objects.findings.add(kinds.SOURCE_OBJECT, *place, "has no label")
        return
    polygon = _points(shape) if shape.tag == "polygon" else ()
    objects.add_box(image, labels[label], box, place=place, polygon=polygon)


def _box(shape: ElementTree.Element) -> tuple[list[float], bool]:
    """Return x, y, width, height of a shape, and whether it was no upright box."""
    if shape.tag == "polygon":
        return around(_points(shape)), True
    x1, y1, x2, y2 = (float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
    box, degrees = [x1, y1, x2 - x1, y2 - y1], float(shape.get("rotation", 0))
    if not degrees:
        return box, False
    return around(rotated(box, degrees, ((x1 + x2) / 2, (y1 + y2) / 2))), True


def _points(polygon: ElementTree.Element) -> list[tuple[float, ...]]:
    return [tuple(map(float, p.split(","))) for p in polygon.attrib["points"].split(";") if p]
