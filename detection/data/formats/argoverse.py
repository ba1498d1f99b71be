"""Reads Argoverse-HD: COCO's annotations, in which an image has a sequence (`sid`), a frame (`fid`)
and a `name` in the folder of its sequence (`seq_dirs`)."""

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from detection.data.documents import read_document
from detection.data.findings import shown
from detection.data.formats.sources import (
    TEST,
    TRAIN,
    VALIDATION,
    FileIndex,
    SplitSource,
    files_below,
    split_name,
)
from searchd.domain.errors import DataError

_MARKS = (b'"seq_dirs"', b'"annotations"')
"""Keys of its annotation files. The file of the test split has no annotations, and is not read."""


def argoverse_sources(paths: Sequence[Path]) -> dict[str, SplitSource]:
    """Return the splits of Argoverse-HD, or of another data set in its form.

    Args:
        paths: A folder with annotation files and images, or annotation files and image folders.

    Raises:
        DataError: There is no annotation file in this form, two are of one split, or an image is of
            an unknown sequence.
    """
    files = [file for path in paths for file in (files_below(path) if path.is_dir() else [path])]
    found = {file: split_name(file.stem) or TRAIN for file in files if is_argoverse_file(file)}
    if not found or len(set(found.values())) < len(found):
        listed = ", ".join(map(str, found)) or "none"
        raise DataError(
            f"{paths[0]}: needs one annotation file of Argoverse-HD for each split, named train, "
            f"val or test; found {listed}"
        )
    images = FileIndex(files)
    splits = {name: _split(file, images) for file, name in found.items()}
    return {name: splits[name] for name in (TRAIN, VALIDATION, TEST) if name in splits}


def is_argoverse_file(path: Path) -> bool:
    """Return whether a file is an annotation file of Argoverse-HD."""
    if path.suffix != ".json" or not path.is_file() or not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return all(content.find(mark) >= 0 for mark in _MARKS)


def _split(file: Path, images: FileIndex) -> SplitSource:
    document: Mapping[str, Any] = read_document(file)
    records = [_image(record, document.get("seq_dirs"), file) for record in document["images"]]
    return SplitSource(
        file=file,
        folder=_image_folder(records, images) or file.parent,
        document={**document, "images": records},
        sources=frozenset([file]),
    )


def _image(record: Mapping[str, Any], folders: Any, file: Path) -> dict[str, Any]:
    """Return an image record in COCO's form, with the video and frame of its sequence."""
    number, name = record.get("sid"), record.get("name")
    if not isinstance(folders, list) or type(number) is not int or not 0 <= number < len(folders):
        raise DataError(
            f"{file}: image {shown(record.get('id'))}: sid={shown(number)} is not the position of "
            "a folder in seq_dirs"
        )
    return {
        **record,
        "file_name": f"{folders[number]}/{name}" if isinstance(name, str) else None,
        "video_id": number,
        "frame_id": record.get("fid"),
    }


def _image_folder(records: Sequence[Mapping[str, Any]], images: FileIndex) -> Path | None:
    """Return the folder that the names of the images are relative to; None if none is there."""
    for name in (each["file_name"] for each in records if each["file_name"]):
        parts = PurePosixPath(name).parts
        found = images.find(name)
        if found is not None and found.parts[-len(parts) :] == parts:
            return found.parents[len(parts) - 1]
    return None
