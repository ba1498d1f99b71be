"""Reads the annotations of a split: boxes that can be used, and findings about all others."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from detection.data import kinds
from detection.data.findings import Findings, Kind, shown
from detection.data.formats.rotation import around
from detection.data.masks import Mask, read_mask
from detection.data.record_ids import RecordId, mapped_id, record_id
from searchd.domain.errors import DataError

BORDER_PX = 1.0
"""Boxes may reach this far outside their image, in pixels, since annotation tools round. They are
clipped without being reported."""
MIN_SIDE_PX = 1.0
"""Smallest side of a box, in pixels. mmdet leaves out smaller ones too."""
ROUNDING_PX = 1e-3
"""Rounding error of a side, in pixels."""
MAX_AREA = 1e10
"""Largest area that COCO's evaluation accepts, in square pixels."""
MIN_NORMALISED_SHARE = 0.9
"""Share of a split's boxes in 0..1 from which on the numbers are no pixels."""
MIN_CORNER_SHARE = 0.99
"""Share of a split's boxes that are valid corners from which on boxes over the edge are refused."""

Annotation = Mapping[str, Any]


class Box(NamedTuple):
    """One annotation that can be used. The box is xyxy in pixels, inside the image."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: int
    """Class, in 0..num_classes-1."""
    area: float
    """Area in square pixels, for COCO's small, medium and large."""
    is_crowd: bool
    mask: Mask | None = None
    """Its pixels, for detectors of masks. None: it has none, or they were not asked for."""


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image record that can be used."""

    image_id: RecordId
    path: Path
    width: int
    height: int


class BoxReader:
    """Reads the annotations of one split.

    Attributes:
        boxes: Boxes of each image.
        findings: Findings about annotations.
        num_left_out: Number of annotations that are left out.
    """

    def __init__(
        self,
        file: Path,
        images: Mapping[RecordId, ImageInfo],
        broken: Iterable[RecordId],
        labels: Mapping[RecordId, int],
        *,
        masks: bool,
    ) -> None:
        """
        Args:
            file: Path of the annotation file, for findings.
            images: Images by id.
            broken: Ids of image records that cannot be used; their annotations are passed over.
            labels: Label of each category id.
            masks: Whether masks are read too.
        """
        self._file, self._images, self._labels = file, images, labels
        self._reads_masks = masks
        self._broken = frozenset(broken)
        self.boxes: dict[RecordId, list[Box]] = {image: [] for image in images}
        self.findings = Findings()
        self.num_left_out = 0
        self._placeholders: list[tuple[int, Annotation, RecordId]] = []
        self._ids: set[RecordId] = set()
        self._num_numeric = self._num_in_unit = self._num_corners = self._num_over = 0
        self._over_without_corners = False

    def read(self, annotations: Sequence[Annotation]) -> None:
        """Read all annotations of the split. Call it once."""
        for number, annotation in enumerate(annotations):
            self._check_id(number, annotation)
            self._read(number, annotation)
        self._read_placeholders()
        self._check_coordinates()
        self.num_left_out = len(annotations) - sum(map(len, self.boxes.values()))

    def _read(self, number: int, annotation: Annotation) -> None:
        image = self._image(number, annotation)
        if image is None:
            return
        bbox = annotation.get("bbox")
        if bbox is None:
            bbox = self._box_of_polygons(number, annotation)
        if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(_is_finite, bbox))):
            problem = f"bbox {shown(bbox)} must be four numbers: x, y, width, height"
            self._add(kinds.BOX_NUMBERS, number, annotation, problem, bbox)
        elif not any(bbox):
            self._placeholders.append((number, annotation, image.image_id))
        else:
            self._read_box(number, annotation, image, bbox)

    def _box_of_polygons(self, number: int, annotation: Annotation) -> list[float] | None:
        """Return the box around an annotation's polygons; None if it has none."""
        points = list(_points(annotation.get("segmentation")))
        if len(points) < 3:
            return None
        bbox = around(points)
        problem = f"bbox is missing; {bbox} is around its polygons"
        self._add(kinds.POLYGON, number, annotation, problem, bbox)
        return bbox

    def _read_box(
        self, number: int, annotation: Annotation, image: ImageInfo, bbox: list[float]
    ) -> None:
        label, crowd = self._label(number, annotation), self._crowd(number, annotation)
        self._count(bbox, image)
        corners = self._clipped(number, annotation, image, bbox)
        if corners is None or label is None or crowd is None:
            return
        x1, y1, x2, y2 = corners
        area = self._area(number, annotation, (x2 - x1) * (y2 - y1))
        mask = self._mask(number, annotation, image) if self._reads_masks else None
        self.boxes[image.image_id].append(Box(x1, y1, x2, y2, label, area, crowd, mask))

    def _mask(self, number: int, annotation: Annotation, image: ImageInfo) -> Mask | None:
        value = annotation.get("segmentation")
        try:
            return read_mask(value, image.width, image.height)
        except DataError as error:
            self._add(kinds.MASK, number, annotation, str(error), shown(value))
            return None

    def _image(self, number: int, annotation: Annotation) -> ImageInfo | None:
        value = annotation.get("image_id")
        identity = self._mapped(value, number, annotation)
        image = None if identity is None else self._images.get(identity)
        if image is None and identity not in self._broken:
            problem = f"there is no image {shown(value)}"
            self._add(kinds.ANNOTATION_IMAGE, number, annotation, problem, value)
        return image

    def _label(self, number: int, annotation: Annotation) -> int | None:
        value = annotation.get("category_id")
        identity = self._mapped(value, number, annotation)
        label = None if identity is None else self._labels.get(identity)
        if label is None:
            missing = "category_id is missing: " if value is None else ""
            problem = f"{missing}there is no category {shown(value)}"
            self._add(kinds.ANNOTATION_CATEGORY, number, annotation, problem, value)
        return label

    def _crowd(self, number: int, annotation: Annotation) -> bool | None:
        value = annotation.get("iscrowd", 0)
        if type(value) is int and value in (0, 1):
            return bool(value)
        known = _CROWD_VALUES.get(value.strip().lower() if isinstance(value, str) else repr(value))
        kind = kinds.CROWD_VALUE if known is None else kinds.ANNOTATION_CROWD
        self._add(kind, number, annotation, f"iscrowd={shown(value)} must be 0 or 1", value)
        return known

    def _clipped(
        self, number: int, annotation: Annotation, image: ImageInfo, bbox: list[float]
    ) -> tuple[float, float, float, float] | None:
        """Return the box as xyxy inside the image, or None if it is left out."""
        x, y, width, height = bbox
        if min(width, height) <= 0:
            kind = kinds.BOX_EMPTY if min(width, height) == 0 else kinds.BOX_NEGATIVE
            problem = f"bbox {bbox} must have positive width and height"
            self._add(kind, number, annotation, problem, bbox)
            return None
        x1, y1 = max(x, 0.0), max(y, 0.0)
        x2, y2 = min(x + width, image.width), min(y + height, image.height)
        if min(x2 - x1, y2 - y1) <= 0:
            problem = f"bbox {bbox} is outside image {_size(image)}"
            self._add(kinds.BOX_OUTSIDE, number, annotation, problem, bbox)
            return None
        if min(x2 - x1, y2 - y1) < MIN_SIDE_PX - ROUNDING_PX:
            problem = f"bbox {bbox} has a side below one pixel"
            self._add(kinds.BOX_BELOW_PIXEL, number, annotation, problem, bbox)
            return None
        if _is_over(bbox, image):
            problem = f"bbox {bbox} reaches outside image {_size(image)}"
            self._add(kinds.BOX_CLIPPED, number, annotation, problem, bbox)
        return float(x1), float(y1), float(x2), float(y2)

    def _area(self, number: int, annotation: Annotation, of_box: float) -> float:
        value = annotation.get("area")
        area = _number(value)
        if 0 < area <= MAX_AREA and not isinstance(value, str):
            return area
        problem = f"area={shown(value)} must be a number > 0"
        self._add(kinds.ANNOTATION_AREA, number, annotation, problem, value)
        return area if 0 < area <= MAX_AREA else of_box

    def _check_id(self, number: int, annotation: Annotation) -> None:
        value = annotation.get("id")
        identity = record_id(value)
        if type(value) is not int or identity in self._ids:
            twice = identity is not None and identity in self._ids
            problem = "the id occurs twice" if twice else f"id {shown(value)} is no whole number"
            self._add(kinds.ANNOTATION_ID, number, annotation, problem, value)
        if identity is not None:
            self._ids.add(identity)

    def _read_placeholders(self) -> None:
        for number, annotation, image in self._placeholders:
            kind = kinds.BOX_EMPTY if self.boxes[image] else kinds.PLACEHOLDER
            bbox = annotation["bbox"]
            problem = f"bbox {bbox} must have positive width and height"
            self._add(kind, number, annotation, problem, bbox)

    def _count(self, bbox: list[float], image: ImageInfo) -> None:
        """Count what the numbers of a box could mean."""
        x, y, width, height = bbox
        corners = image.width + BORDER_PX >= width > x >= 0
        corners = corners and image.height + BORDER_PX >= height > y >= 0
        over = _is_over(bbox, image)
        self._num_numeric += 1
        self._num_in_unit += max(bbox) <= 1 and min(bbox) >= 0 and min(width, height) > 0
        self._num_corners += corners
        self._num_over += over
        self._over_without_corners |= over and not corners

    def _check_coordinates(self) -> None:
        """Refuse a split whose boxes are no x, y, width, height in pixels."""
        if self._num_numeric and self._num_in_unit >= MIN_NORMALISED_SHARE * self._num_numeric:
            problem = f"{self._num_in_unit} of {self._num_numeric} boxes are in 0..1, not in pixels"
            self._replace(kinds.BOXES_NORMALISED, problem)
        elif self._are_corners():
            problem = (
                f"{self._num_over} of {self._num_numeric} boxes reach outside their image, and all "
                "are inside as corners"
            )
            self._replace(kinds.BOXES_ARE_CORNERS, problem)

    def _are_corners(self) -> bool:
        enough = self._num_corners >= MIN_CORNER_SHARE * self._num_numeric
        return self._num_over > 0 and not self._over_without_corners and enough

    def _replace(self, kind: Kind, problem: str) -> None:
        """Report one finding instead of those about single boxes that follow from it."""
        example = next((e for f in self.findings for e in f.examples if f.kind in _OF_BOXES), None)
        kept = [finding for finding in self.findings if finding.kind not in _OF_BOXES]
        self.findings = Findings()
        self.findings.extend(kept)
        record, value = (example.record, example.value) if example else ("", "")
        named = f"{problem}, as bbox {value}" if value else problem
        self.findings.add(kind, self._file, record, named, value=value)

    def _mapped(self, value: object, number: int, annotation: Annotation) -> RecordId | None:
        if type(value) is int:
            return value
        return mapped_id(value, self.findings, self._file, _name(number, annotation))

    def _add(
        self, kind: Kind, number: int, annotation: Annotation, problem: str, value: object
    ) -> None:
        file = annotation.get("_file", self._file)
        self.findings.add(kind, file, _name(number, annotation), problem, value=value)


_CROWD_VALUES = {
    **dict.fromkeys(("", "0", "false", "no", "none", "null", "None", "False", "0.0"), False),
    **dict.fromkeys(("1", "true", "yes", "True", "1.0"), True),
}
"""What other values of iscrowd than 0 and 1 mean: texts in lower case, or a value's repr."""
_OF_BOXES = (
    kinds.BOX_CLIPPED,
    kinds.BOX_EMPTY,
    kinds.BOX_BELOW_PIXEL,
    kinds.BOX_OUTSIDE,
)


def _name(number: int, annotation: Annotation) -> str:
    """Return the name of an annotation for messages."""
    name = annotation.get("_record")
    if isinstance(name, str):
        return name
    identity = annotation.get("id")
    return f"annotation number {number}" if identity is None else f"annotation {shown(identity)}"


def _size(image: ImageInfo) -> str:
    return f"{image.image_id} ({image.width}x{image.height} pixels)"


def _is_over(bbox: list[float], image: ImageInfo) -> bool:
    x, y, width, height = bbox
    over = x + width > image.width + BORDER_PX or y + height > image.height + BORDER_PX
    return over or min(x, y) < -BORDER_PX


def _points(segmentation: object) -> Iterator[tuple[float, float]]:
    """Yield the points (x, y) of COCO's polygons; none if a polygon is malformed."""
    polygons = segmentation if isinstance(segmentation, list) else []
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(_is_finite, polygon)):
            return
        yield from zip(polygon[::2], polygon[1::2], strict=True)


def _is_finite(value: object) -> bool:
    # `math.isfinite` fails for whole numbers that are too large for a float.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _number(value: object) -> float:
    """Return a number or a text of one as a float; -1 for anything else."""
    try:
        number = float(value) if isinstance(value, int | float | str) else -1.0
    except (ValueError, OverflowError):
        return -1.0
    return number if number == number else -1.0
