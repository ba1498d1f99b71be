"""Reads Pascal VOC data sets: an XML file per image, in VOC's folders or beside the images.

VOC counts pixels from 1, and xmax and ymax are inside the box. Objects that are marked difficult
are read as crowds: training leaves them out and evaluation ignores them, as VOC does.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from detection.data import kinds
from detection.data.findings import shown
from detection.data.formats.sources import (
    IMAGE_SUFFIXES,
    TRAIN,
    Objects,
    SplitSource,
    common_folder,
    files_below,
    split_name,
)
from detection.data.formats.xml_files import read_xml, root_tag
from detection.data.image_files import shown_size
from searchd.domain.errors import DataError

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def voc_sources(paths: Sequence[Path]) -> dict[str, SplitSource]:
    """Return the splits of a VOC data set: of `ImageSets/Main`, of folders, or one.

    Args:
        paths: Its folder; or a folder of XML files and a folder of images.

    Raises:
        DataError: There is no annotation in VOC's format.
    """
    files = [path for folder in paths for path in files_below(folder)]
    annotations = [path for path in files if path.suffix.lower() == ".xml" and is_voc_file(path)]
    if not annotations:
        raise DataError(f"{paths[0]}: there is no XML file in Pascal VOC's format")
    images = _by_stem([path for path in files if path.suffix.lower() in IMAGE_SUFFIXES])
    roots = {path: _root(path) for path in annotations}
    names = sorted({name for root in roots.values() for name in _class_names(root)})
    categories = dict(enumerate(names, start=1))
    return {
        split: _split(paths[0], {path: roots[path] for path in members}, images, categories)
        for split, members in _splits(files, annotations, paths[0]).items()
    }


def is_voc_file(path: Path) -> bool:
    """Return whether a file is an annotation in VOC's format; true for broken XML files too."""
    return root_tag(path) in ("annotation", "")


def _root(path: Path) -> ElementTree.Element | str:
    """Return the root element, or why it cannot be read."""
    try:
        return read_xml(path)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")


def _class_names(root: ElementTree.Element | str) -> set[str]:
    found = [] if isinstance(root, str) else root.findall("object")
    return {name for each in found if (name := each.findtext("name", "").strip())}


def _by_stem(images: Sequence[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in images:
        found.setdefault(path.stem, []).append(path)
    return found


def _splits(
    files: Sequence[Path], annotations: Sequence[Path], folder: Path
) -> dict[str, list[Path]]:
    """Return the annotation files of each split."""
    lists = [path for path in files if path.suffix == ".txt" and path.parent.name == "Main"]
    named = {split: path for path in lists if (split := _list_name(path)) is not None}
    if named:
        stems = {split: _listed(path) for split, path in named.items()}
        found = {s: [p for p in annotations if p.stem in stems[s]] for s in stems}
        return {split: members for split, members in found.items() if members}
    by_folder: dict[str, list[Path]] = {}
    for path in annotations:
        parts = path.relative_to(folder).parts[:-1] if path.is_relative_to(folder) else ()
        names = [name for part in parts if (name := split_name(part)) is not None]
        by_folder.setdefault(names[-1] if names else TRAIN, []).append(path)
    return by_folder


def _list_name(path: Path) -> str | None:
    """Return the split of a list; lists of one class, as "dog_train.txt", are not of interest."""
    if path.stem == "trainval" and (path.parent / "train.txt").exists():
        return None
    return split_name(path.stem) if "_" not in path.stem else None


def _listed(path: Path) -> set[str]:
    """Return the names in a list, without the suffixes that some tools write."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    words = [line.split()[0] for line in lines if line.split()]
    return {
        Path(w).stem if Path(w).suffix.lower() in IMAGE_SUFFIXES else Path(w).name for w in words
    }


def _split(
    folder: Path,
    roots: Mapping[Path, ElementTree.Element | str],
    images: Mapping[str, Sequence[Path]],
    categories: Mapping[int, str],
) -> SplitSource:
    places = {path: _image_of(path, root, images) for path, root in roots.items()}
    objects = Objects(folder=common_folder(places.values(), folder))
    labels = {name: identity for identity, name in categories.items()}
    for path, root in roots.items():
        if isinstance(root, str):
            objects.findings.add(kinds.SOURCE_FILE, path, "", root)
            continue
        size = _size(root) or shown_size(places[path]) or (1, 1)
        identity = objects.add_image(places[path], size)
        for number, each in enumerate(root.findall("object"), start=1):
            _add_object(objects, identity, each, labels, (path, f"object {number}"))
    return objects.source(folder, categories)


def _image_of(
    path: Path, root: ElementTree.Element | str, images: Mapping[str, Sequence[Path]]
) -> Path:
    """Return the image of an annotation file: of the same name, else as the file says."""
    name = "" if isinstance(root, str) else root.findtext("filename", "").strip()
    stems = (path.stem, Path(name.replace("\\", "/")).stem)
    found = next((images[stem] for stem in stems if stem in images), None)
    if found is None:
        return path.parent / (name or path.stem)
    return max(found, key=lambda each: _common_parts(each, path))


def _common_parts(one: Path, other: Path) -> int:
    return sum(a == b for a, b in zip(one.parts, other.parts, strict=False))


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    """Return the recorded width and height; None if they are missing or 0, as some tools write."""
    try:
        width, height = (int(float(root.findtext(f"size/{s}", "0"))) for s in ("width", "height"))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _add_object(
    objects: Objects,
    image: int,
    element: ElementTree.Element,
    labels: Mapping[str, int],
    place: tuple[Path, str],
) -> None:
    name = element.findtext("name", "").strip()
    texts = [element.findtext(f"bndbox/{side}", "") for side in _SIDES]
    box = _box(texts)
    if name not in labels or box is None:
        wrong = f"bndbox {shown(texts)} must be four numbers: xmin, ymin, xmax, ymax"
        problem = "has no name" if name not in labels else wrong
        objects.findings.add(kinds.SOURCE_OBJECT, place[0], place[1], problem, value=shown(texts))
        return
    is_difficult = element.findtext("difficult", "0").strip() == "1"
    if is_difficult:
        objects.findings.add(kinds.DIFFICULT, place[0], place[1], "is marked difficult")
    objects.add_box(image, labels[name], box, place=place, is_crowd=is_difficult)


def _box(texts: Sequence[str]) -> list[float] | None:
    """Return x, y, width, height of VOC's corners, which count from 1 and are both inside.

    Equal corners are a box without area, a click without a drag, not a box of one pixel.
    """
    try:
        x1, y1, x2, y2 = (float(text) for text in texts)
    except ValueError:
        return None
    if not any((x1, y1, x2, y2)):
        return [0.0, 0.0, 0.0, 0.0]
    width, height = (x2 - x1, y2 - y1) if x1 == x2 or y1 == y2 else (x2 - x1 + 1, y2 - y1 + 1)
    return [x1 - 1, y1 - 1, width, height]
