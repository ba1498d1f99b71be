"""A COCO-format detection split in memory, as training and evaluation use it.

Boxes are xyxy in pixels of the image as it is shown, except in the annotation file, which has x, y,
width, height. Labels are 0..num_classes-1, in the order of the category ids.
"""

from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.data.coco_documents import coco_document
from detection.data.documents import Document, read_document
from detection.data.findings import fault_text
from detection.data.image_cache import ImageCache
from detection.data.image_files import read_pixels
from detection.data.inspection import (
    DatasetSummary,
    SplitSummary,
    check_dataset,
    record_faults,
)
from detection.data.record_ids import RecordId
from detection.data.records import ImageRecord, NormalisedSplit, normalise
from detection.data.shared_files import fetch
from searchd.domain.errors import DataError
from searchd.spec import SplitSpec

__all__ = [
    "CocoSplit",
    "DatasetSummary",
    "Document",
    "ImageRecord",
    "SplitSummary",
    "check_dataset",
    "read_document",
]

MAX_CACHED_BYTES = 512 * 2**20
"""Default size of the decoded images that one split keeps in memory, in bytes; processes that read
for the same training share them."""


class CocoSplit:
    """A split in memory: all records, and decoded images up to `max_cached_bytes`.

    Attributes:
        spec: Paths of the split.
        records: One record per image, in the order of the annotation file.
        category_ids: COCO category id of each label.
        class_names: Name of each label.
    """

    def __init__(self, spec: SplitSpec, *, max_cached_bytes: int = MAX_CACHED_BYTES) -> None:
        """Read the annotations; images are decoded when first used.

        Raises:
            DataError: A file of a shared store changed since the check, or cannot be copied. The
                annotation file cannot be read, is not in COCO's format, or changed since
                the check, or a record of an image or category cannot be used. Annotations that
                cannot be used are left out; `check_dataset` reports them.
        """
        if spec.files is not None:
            fetch(spec.files)
        normalised = _normalised(spec, masks=False)
        faults = record_faults(normalised.findings)
        if faults:
            raise DataError(fault_text(faults))
        self.spec = spec
        self.category_ids: tuple[RecordId, ...] = normalised.category_ids
        self.class_names = normalised.class_names
        self.records = _used(normalised, spec)
        self._chosen: Sequence[int] = range(len(self.records))  # of the images of the file
        self._max_cached_bytes = max_cached_bytes
        self._cache = _cache(self.records, max_cached_bytes)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.records)

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of an image as it is shown: H x W x 3, RGB. Do not write to them.

        Raises:
            DataError: The image cannot be read, or has another size than its record.
        """
        cached = self._cache.get(index)
        return self._cache.put(index, _pixels(self.records[index])) if cached is None else cached

    def spaced(self, num: int) -> "CocoSplit":
        """Return a split of this number of images, evenly spaced over this one; this one itself if
        it has no more."""
        if num >= len(self):
            return self
        places = [index * len(self) // num for index in range(num)]
        sample = copy(self)
        vars(sample).pop("_with_masks", None)  # those of all images
        sample.records = tuple(self.records[place] for place in places)
        sample._chosen = [self._chosen[place] for place in places]
        sample._cache = _cache(sample.records, self._max_cached_bytes)
        return sample

    def ground_truth(self, *, masks: bool = False) -> dict[str, Any]:
        """Return the records as a COCO document for evaluation.

        Ids of images, annotations and categories count from 1; see `coco_document`.

        Args:
            masks: Whether objects have their segmentation.

        Raises:
            DataError: Masks are asked for, and an object has none.
        """
        records = self.masked_records if masks else self.records
        return coco_document(records, self.class_names, self.spec.images)

    @property
    def has_masks(self) -> bool:
        """Whether every object that is no crowd has a mask."""
        return not _num_without_mask(self._with_masks)

    @property
    def masked_records(self) -> tuple[ImageRecord, ...]:
        """The records with the masks of their objects.

        Raises:
            DataError: An object has no mask, or the annotation file changed.
        """
        missing = _num_without_mask(self._with_masks)
        if missing:
            raise DataError(
                f"{self.spec.annotations}: {missing} objects have no mask, from which a Mask R-CNN "
                "learns; add their segmentation, or use a family that finds boxes"
            )
        return self._with_masks

    @cached_property
    def _with_masks(self) -> tuple[ImageRecord, ...]:
        """The records, read again, since most detectors do without masks."""
        records = _used(_normalised(self.spec, masks=True), self.spec)
        return tuple(records[index] for index in self._chosen)


def _normalised(spec: SplitSpec, *, masks: bool) -> NormalisedSplit:
    document = read_document(spec.annotations, sha256=spec.sha256)
    return normalise(document, spec.annotations, spec.images, masks=masks)


def _used(split: NormalisedSplit, spec: SplitSpec) -> tuple[ImageRecord, ...]:
    """Return the records without the images that the check has left out."""
    left_out = set(spec.left_out)
    return tuple(record for record in split.records if str(record.path) not in left_out)


def _num_without_mask(records: Sequence[ImageRecord]) -> int:
    return sum(mask is None for record in records for mask in record.masks)


def _cache(records: Sequence[ImageRecord], max_bytes: int) -> ImageCache:
    """Return an empty cache. Images with objects come first, since trainings read only those."""
    order = sorted(range(len(records)), key=lambda index: not len(records[index].labels))
    shapes = {index: (records[index].height, records[index].width, 3) for index in order}
    return ImageCache(shapes, max_bytes)


def _pixels(record: ImageRecord) -> NDArray[np.uint8]:
    try:
        pixels = read_pixels(record.path)
    except FileNotFoundError as error:
        raise DataError(f"{record.path}: the image cannot be read: it is missing") from error
    height, width = pixels.shape[:2]
    if (width, height) != (record.width, record.height):
        raise DataError(
            f"{record.path}: the image has {width}x{height} pixels, its record says "
            f"{record.width}x{record.height}; it changed since the check"
        )
    return pixels
