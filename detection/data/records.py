"""Turns an annotation document into normalised records, which training and evaluation both use.

Boxes are xyxy in pixels of the image as it is shown, which is with its EXIF orientation applied.
Labels are 0..num_classes-1, in the order of the category ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.data import kinds
from detection.data.boxes import Box, BoxReader, ImageInfo
from detection.data.documents import Document
from detection.data.findings import Findings, shown
from detection.data.image_paths import find_path
from detection.data.masks import Mask
from detection.data.record_ids import RecordId, mapped_id, sort_key
from detection.data.sequences import Frame, read_frames

MAX_SIDE_PX = 2**31 - 1
"""Largest width and height of an image, in pixels: more than any image format allows."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageRecord:
    """One image and its objects. Boxes that cannot be used are left out."""

    image_id: RecordId
    """Id in the annotation file."""
    path: Path
    width: int
    height: int
    boxes: NDArray[np.float32]
    """n x 4, xyxy, in pixels of the image as shown and clipped to it. Without crowds."""
    labels: NDArray[np.int64]
    """n, in 0..num_classes-1."""
    areas: NDArray[np.float64]
    """n, in square pixels: the annotated area, which decides between small, medium and large."""
    crowd_boxes: NDArray[np.float32]
    """m x 4: crowds, which are left out of training and ignored in evaluation."""
    crowd_labels: NDArray[np.int64]
    """m, in 0..num_classes-1."""
    masks: tuple[Mask | None, ...] = ()
    """n; None of an object without one, and of all where masks were not asked for."""
    crowd_masks: tuple[Mask | None, ...] = ()
    """m, likewise."""
    frame: Frame | None = None
    """Its place in a sequence. None: it is a single image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalisedSplit:
    """The records of a split, and the findings about its annotation file."""

    file: Path
    """Annotation file."""
    folder: Path
    """Image folder."""
    records: tuple[ImageRecord, ...]
    """One record per usable image, in the order of the annotation file."""
    category_ids: tuple[RecordId, ...]
    """Category id of each label."""
    class_names: tuple[str, ...]
    """Name of each label."""
    root_class: int | None
    """Label of the class that is the supercategory of all others; None if there is none."""
    num_annotations: int
    """Number of annotations in the file, crowds included."""
    num_left_out: int
    """Number of annotations that are left out."""
    findings: Findings


def normalise(
    document: Document, file: Path, folder: Path, *, masks: bool = False
) -> NormalisedSplit:
    """Return the normalised records of a document, with all findings about its records.

    Image files are not read; see `detection.data.inspection`.

    Args:
        document: Content of the annotation file.
        file: Path of the annotation file, for findings.
        folder: Folder that `file_name` is relative to.
        masks: Whether masks are read too. Detectors of boxes need none, and reading them takes
            about as long as everything else.
    """
    findings = Findings()
    names = _categories(document["categories"], file, findings)
    images, broken = _images(document["images"], file, folder, findings)
    frames = read_frames(document["images"], file, findings)
    labels = {category: label for label, category in enumerate(names)}
    reader = BoxReader(file, images, broken, labels, masks=masks)
    reader.read(document["annotations"])
    broken_categories = findings.count(kinds.CATEGORY_RECORD) > 0
    findings.extend(
        finding
        for finding in reader.findings
        if not (broken_categories and finding.kind is kinds.ANNOTATION_CATEGORY)
    )
    return NormalisedSplit(
        file=file,
        folder=folder,
        records=tuple(
            _record(image, reader.boxes[key], frames.get(key)) for key, image in images.items()
        ),
        category_ids=tuple(names),
        class_names=tuple(names.values()),
        root_class=_root_class(document["categories"], list(names.values())),
        num_annotations=len(document["annotations"]),
        num_left_out=reader.num_left_out,
        findings=findings,
    )


def _categories(
    categories: Sequence[Mapping[str, Any]], file: Path, findings: Findings
) -> dict[RecordId, str]:
    """Return the names of the categories by id, in the order of the ids."""
    names: dict[RecordId, str] = {}
    for number, category in enumerate(categories):
        where = f"category number {number}"
        identity = mapped_id(category.get("id"), findings, file, where)
        problem = _problem_of_category(category, identity, names, where)
        if problem:
            value = category.get("name" if identity is not None else "id")
            findings.add(kinds.CATEGORY_RECORD, file, "", problem, value=value)
        elif identity is not None:
            names[identity] = _class_name(category)
    if not categories:
        findings.add(kinds.CATEGORY_RECORD, file, "", "there are no categories")
    _report_equal_names(names, file, findings)
    return dict(sorted(names.items(), key=lambda item: sort_key(item[0])))


def _problem_of_category(
    category: Mapping[str, Any],
    identity: RecordId | None,
    names: Mapping[RecordId, str],
    where: str,
) -> str:
    if identity is None:
        return f"{where} has no id: {shown(category.get('id'))}"
    if identity in names:
        return f"category id {identity} occurs twice; ids must be unique"
    return "" if _class_name(category) else f"category {identity} has no name"


def _class_name(category: Mapping[str, Any]) -> str:
    """Return the name of a category, which may be a whole number; empty if there is none."""
    name = category.get("name")
    if type(name) is int:
        return str(name)
    return name if isinstance(name, str) and name.strip() else ""


def _report_equal_names(names: Mapping[RecordId, str], file: Path, findings: Findings) -> None:
    first: dict[str, RecordId] = {}
    for identity, name in names.items():
        if first.setdefault(name, identity) != identity:
            problem = f"the name {name!r} is also that of category {first[name]}"
            where = f"category {identity}"
            findings.add(kinds.CLASS_NAME_TWICE, file, where, problem, value=name)


def _root_class(categories: Sequence[Mapping[str, Any]], names: Sequence[str]) -> int | None:
    """Return the label of the class whose name is the supercategory of all other classes."""
    others = {c.get("supercategory") for c in categories if c.get("supercategory") != c.get("name")}
    others -= {None, "", "none"}
    if len(others) != 1 or len(names) < 2:
        return None
    root = others.pop()
    return names.index(root) if root in names else None


def _images(
    images: Sequence[Mapping[str, Any]], file: Path, folder: Path, findings: Findings
) -> tuple[dict[RecordId, ImageInfo], set[RecordId]]:
    """Return the usable images by id, and the ids of all others."""
    found: dict[RecordId, ImageInfo] = {}
    broken: set[RecordId] = set()
    for number, image in enumerate(images):
        where = f"image number {number}"
        identity = mapped_id(image.get("id"), findings, file, where)
        if identity is None:
            problem = f"has no id: {shown(image.get('id'))}"
            findings.add(kinds.IMAGE_RECORD, file, where, problem, value=image.get("id"))
        elif identity in found or identity in broken:
            problem = f"image id {identity} occurs twice; ids must be unique"
            findings.add(kinds.IMAGE_ID_TWICE, file, "", problem, value=identity)
        else:
            info = _image(image, identity, file, folder, findings)
            broken.update([identity] if info is None else [])
            found.update({identity: info} if info is not None else {})
    return found, broken


def _image(
    image: Mapping[str, Any], identity: RecordId, file: Path, folder: Path, findings: Findings
) -> ImageInfo | None:
    where = f"image {identity}"
    sides = [_side(image, side, where, file, findings) for side in ("width", "height")]
    name = image.get("file_name")
    path = find_path(folder, name)
    if path.kind is not None:
        findings.add(path.kind, file, where, path.problem, value=name or "", cure=path.cure)
    if path.path is None or sides[0] is None or sides[1] is None:
        return None
    return ImageInfo(identity, path.path, sides[0], sides[1])


def _side(
    image: Mapping[str, Any], side: str, where: str, file: Path, findings: Findings
) -> int | None:
    """Return the width or height of an image record, or None and report it."""
    value = image.get(side)
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if type(whole) is int and 1 <= whole <= MAX_SIDE_PX:
        return whole
    wrong = f"{side}={shown(value)} must be a whole number > 0"
    problem = f"has no {side}" if value is None else wrong
    findings.add(kinds.IMAGE_RECORD, file, where, problem, value=value)
    return None


def _record(image: ImageInfo, boxes: Sequence[Box], frame: Frame | None) -> ImageRecord:
    objects = [box for box in boxes if not box.is_crowd]
    crowds = [box for box in boxes if box.is_crowd]
    return ImageRecord(
        image_id=image.image_id,
        path=image.path,
        width=image.width,
        height=image.height,
        boxes=_corners(objects),
        labels=_labels(objects),
        areas=np.array([box.area for box in objects], dtype=np.float64),
        crowd_boxes=_corners(crowds),
        crowd_labels=_labels(crowds),
        masks=tuple(box.mask for box in objects),
        crowd_masks=tuple(box.mask for box in crowds),
        frame=frame,
    )


def _corners(boxes: Sequence[Box]) -> NDArray[np.float32]:
    return np.array([box[:4] for box in boxes], dtype=np.float32).reshape(-1, 4)


def _labels(boxes: Sequence[Box]) -> NDArray[np.int64]:
    return np.array([box.label for box in boxes], dtype=np.int64)
