"""Finds the splits of a COCO data set: annotation files, and the image folder of each."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from detection.data.documents import Document, read_document
from detection.data.formats.sources import (
    TEST,
    TRAIN,
    VALIDATION,
    SplitSource,
    files_below,
    split_name,
)
from searchd.domain.errors import DataError

_ORDER = (TRAIN, VALIDATION, TEST)
_TRIED_IMAGES = 20
"""Number of images that are looked for to find the image folder."""
_START = 65536
"""Bytes at the start of a JSON file that are searched for COCO's keys."""
_MARKS = ((b'"images"', b'"file_name"'), (b'"annotations"', b'"bbox"'))
"""Keys that are in the start of COCO's instances files: of images, or of annotations."""


def coco_sources(paths: Sequence[Path]) -> dict[str, SplitSource]:
    """Return the splits of annotation files and folders, as a user gives them.

    Args:
        paths: A folder with annotation files, or annotation files, each followed by its image
            folder. A file without a folder takes that of the file before or after it, or the
            folder near it that has its first image.

    Raises:
        DataError: There is no annotation file, or it is not clear which split it is of.
    """
    if len(paths) == 1 and paths[0].is_dir():
        pairs: list[tuple[Path, Path | None]] = [
            (file, None) for file in annotation_files(paths[0])
        ]
        if not pairs:
            raise DataError(f"{paths[0]}: there is no annotation file in COCO's format")
    else:
        pairs = _pairs(paths)
    names = _split_names([file for file, _ in pairs])
    found = {
        name: SplitSource(file=file, folder=folder or _image_folder(file))
        for name, (file, folder) in zip(names, pairs, strict=True)
    }
    return {name: found[name] for name in _ORDER if name in found}


def annotation_files(folder: Path) -> list[Path]:
    """Return the files below a folder that look like COCO's instances files.

    Files that are named after a split are among them even if they are broken, so that the check
    reports them.
    """
    return [
        path
        for path in files_below(folder)
        if path.suffix == ".json" and (_looks_like_coco(path) or split_name(path.stem) is not None)
    ]


def has_coco_file(folder: Path) -> bool:
    """Return whether a file below a folder is certainly COCO's instances file."""
    return any(_looks_like_coco(p) for p in files_below(folder) if p.suffix == ".json")


def _looks_like_coco(path: Path) -> bool:
    """Return whether a JSON file starts as an object with one of COCO's lists."""
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except OSError:
        return False
    if not start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return False
    return any(all(key in start for key in keys) for keys in _MARKS)


def _pairs(paths: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Return annotation files with the folder that follows each."""
    pairs: list[tuple[Path, Path | None]] = []
    for path in paths:
        if not path.is_dir():
            pairs.append((path, None))
        elif pairs and pairs[-1][1] is None:
            pairs[-1] = (pairs[-1][0], path)
    given = [folder for _, folder in pairs if folder is not None]
    if len(given) == 1 and len(pairs) > 1:
        return [(file, given[0]) for file, _ in pairs]
    return pairs


def _split_names(files: Sequence[Path]) -> list[str]:
    """Return the split of each file: from names if they are clear, else from the order."""
    named = [split_name(file.stem) or split_name(file.parent.name) for file in files]
    if None not in named and len(set(named)) == len(files):
        return [str(name) for name in named]
    if len(files) > len(_ORDER):
        listed = ", ".join(str(file) for file in files)
        raise DataError(f"it is not clear which annotation file is of which split: {listed}")
    return list(_ORDER[: len(files)])


def _image_folder(file: Path) -> Path:
    """Return the folder near an annotation file that has one of its first images."""
    names = [name.replace("\\", "/") for name in _first_images(file)]
    for folder in _folders_near(file):
        if any(os.path.exists(folder / name) for name in names):
            return folder
    images = file.parent / "images"
    return images if images.is_dir() else file.parent


def _first_images(file: Path) -> list[str]:
    try:
        document: Document = read_document(file)
    except DataError:
        return []  # the check reports it
    names: Iterable[object] = (image.get("file_name") for image in document["images"])
    return [name for name in names if isinstance(name, str) and name][:_TRIED_IMAGES]


def _folders_near(file: Path) -> Iterator[Path]:
    for base in (file.parent, file.parent.parent):
        stem = file.stem.removeprefix("instances_").removeprefix("_annotations.")
        yield base
        for name in ("images", stem, f"images/{stem}", "data", "JPEGImages"):
            yield base / name
        if base.is_dir():
            yield from sorted(path for path in base.iterdir() if path.is_dir())
