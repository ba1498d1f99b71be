"""Writes a checked data set with all repairs applied as a new data set in COCO's format."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from detection.data.coco_documents import coco_document
from detection.data.findings import Severity, fault_text
from detection.data.image_files import read_pixels
from detection.data.inspection import Inspection
from detection.data.records import ImageRecord, NormalisedSplit
from searchd.domain.errors import DataError, InvalidValueError

CHANGES_FILE = "changes.txt"
"""Name of the file that lists every change, one on each line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A repaired data set."""

    annotations: tuple[Path, ...]
    """Annotation file of each split; its images are in the folder of the same name."""
    changes: tuple[str, ...]
    """One sentence for each change: kind, file, record, what was found."""


def write_repaired(found: Inspection, folder: Path) -> Repaired:
    """Write the splits of an accepted data set as COCO files, with their images.

    Images are hard links to those of the source, or copies on another disk. An image that misses
    its last bytes is saved again as PNG. Nothing of the source is changed.

    Args:
        found: Result of the check.
        folder: Folder to write to; it must be empty or missing.

    Raises:
        DataError: The data set has faults.
        InvalidValueError: The folder is not empty.
        OSError: A file cannot be written.
    """
    faults = found.findings.of(Severity.FAULT)
    if faults:
        raise DataError(fault_text(faults))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidValueError(f"{folder} must be an empty or a new folder")
    files = tuple(
        _write_split(name, split, folder, found.truncated) for name, split in found.splits.items()
    )
    changes = tuple(_changes(found))
    text = "".join(f"{line}\n" for line in changes)
    (folder / CHANGES_FILE).write_text(text, encoding="utf-8", errors="surrogateescape")
    return Repaired(annotations=files, changes=changes)


def _write_split(
    name: str, split: NormalisedSplit, folder: Path, truncated: frozenset[Path]
) -> Path:
    images, file = folder / name, folder / f"{name}.json"
    images.mkdir(parents=True)
    targets = _targets(split, images, truncated)
    for record, target in zip(split.records, targets, strict=True):
        _write_image(record.path, target, is_truncated=record.path in truncated)
    records = [replace(r, path=target) for r, target in zip(split.records, targets, strict=True)]
    document = coco_document(records, split.class_names, images)
    file.write_text(json.dumps(document, ensure_ascii=False), errors="surrogateescape")
    return file


def _targets(split: NormalisedSplit, images: Path, truncated: frozenset[Path]) -> list[Path]:
    """Return where each image is written: the path below the image folder, if it is still free."""
    taken: set[Path] = set()
    targets = []
    for number, record in enumerate(split.records, start=1):
        name = _name(record, split)
        target = images / (name.with_suffix(".png") if record.path in truncated else name)
        if target in taken:
            target = target.with_name(f"{number}-{target.name}")
        taken.add(target)
        targets.append(target)
    return targets


def _name(record: ImageRecord, split: NormalisedSplit) -> Path:
    if record.path.is_relative_to(split.folder):
        return record.path.relative_to(split.folder)
    return Path(record.path.name)


def _write_image(source: Path, target: Path, *, is_truncated: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if is_truncated:
        Image.fromarray(read_pixels(source)).save(target)
        return
    with suppress(OSError):  # another disk, or one without hard links
        os.link(os.path.realpath(source), target)
        return
    shutil.copyfile(source, target)


def _changes(found: Inspection) -> Iterator[str]:
    for finding in found.findings.of(Severity.REPAIR):
        for example in finding.examples:
            yield f"{finding.kind.name}: {example}"
        hidden: Sequence[int] = range(len(finding.examples), finding.count)
        if hidden:
            yield f"{finding.kind.name}: ... and {len(hidden)} more"
