"""Makes batches for mmdet detectors: augmented, resized, padded, normalised.

Every random draw is a function of the seed and of the position in training, so a resumed run and
all data-parallel ranks agree without any stored state.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import mmcv
import numpy as np
import torch
from numpy.typing import NDArray

from detection.build import SIZE_DIVISOR
from detection.data.augmentations import Augmentation, Augmenter, visible
from detection.data.batch import Batch, PixelBatch
from detection.data.coco import CocoSplit
from detection.data.mask_pixels import masks_of
from detection.data.records import ImageRecord
from searchd.domain.errors import DataError
from searchd.domain.resolution import Resolution

__all__ = [
    "Batch",
    "PixelBatch",
    "TrainingBatches",
    "fixed_batches",
    "make_batch",
    "make_batches",
    "resized",
]

_ORDER, _FLIP, _RESOLUTION, _AUGMENTATION = range(4)
"""Streams of random numbers; each is seeded by (seed, stream, position)."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""H x W x 3, RGB, in 0..255; float if colours were changed, which may leave that range."""


class TrainingBatches:
    """The training batches of all epochs, by their global step.

    An epoch shuffles the images that have an object (mmdet's `filter_empty_gt`), and those without
    annotations if they are to be used, and divides them among the ranks. The last iteration is
    filled up with images from the epoch's start, so that all batches are full.
    """

    def __init__(
        self,
        split: CocoSplit,
        *,
        batch_size: int,
        resolutions: Sequence[Resolution],
        augmenter: Augmenter | None = None,
        use_empty_images: bool = False,
        masks: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            split: The training split.
            batch_size: Images per batch of one rank.
            resolutions: One is drawn uniformly for every iteration.
            augmenter: Draws how images are augmented; by default half of them are mirrored.
            use_empty_images: Whether images without objects are used, as background.
            masks: Whether batches have the masks of objects.
            seed: Seed of every draw; the same on all ranks.
            rank: Rank of this data-parallel process, from 0.
            world_size: Number of data-parallel processes.

        Raises:
            DataError: No image has an object, or one has no mask and masks are asked for.
        """
        self._split = split
        # Masks are read before processes that read images ahead are forked, which share them.
        self._masks = masks and bool(split.masked_records)
        if not any(len(record.labels) for record in split.records):
            raise DataError(f"{split.spec.annotations}: no image has an object to train on")
        self._usable = [
            i for i, each in enumerate(split.records) if _is_usable(each, use_empty_images)
        ]
        self._batch_size = batch_size
        self._resolutions = tuple(resolutions)
        self._augmenter = augmenter or Augmenter()
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._shuffled: tuple[int, NDArray[np.int64]] | None = None

    @property
    def num_iterations(self) -> int:
        """Iterations of one epoch."""
        return math.ceil(len(self._usable) / (self._batch_size * self._world_size))

    def batch(self, step: int) -> Batch:
        """Return this rank's batch of a global step, counted from 0 over all epochs."""
        return self.views(step)[0]

    def views(self, step: int, *others: Resolution) -> tuple[Batch, ...]:
        """Return the batch of a step, and the same images, augmented alike, at other resolutions.

        Batches of equal resolution are the same object.
        """
        found = _normalised(self.read(step, *others))
        return tuple(found[resolution] for resolution in (self.resolution(step), *others))

    def read(self, step: int, *others: Resolution) -> dict[Resolution, PixelBatch]:
        """Return the same as `views`, by resolution, as it is read: in bytes, not normalised.

        Raises:
            DataError: An image cannot be read.
        """
        epoch, iteration = divmod(step, self.num_iterations)
        place = self._batch_size * (iteration * self._world_size + self._rank)
        order = self._order(epoch)
        indices = [int(order[(place + i) % len(order)]) for i in range(self._batch_size)]
        resolutions = (self.resolution(step), *others)
        augmentations = self._augmentations(step, indices)
        return _read(self._split, indices, resolutions, augmentations, masks=self._masks)

    def largest_views(self, num_images: int, *resolutions: Resolution) -> tuple[Batch, ...]:
        """Return a batch with the most padding: the widest and the tallest image in turn.

        Batches of equal resolution are the same object.
        """
        by_shape = sorted(
            self._usable, key=lambda i: self._split.records[i].width / self._split.records[i].height
        )
        indices = [by_shape[-(place % 2)] for place in range(1, num_images + 1)]
        found = make_batches(
            self._split, indices, resolutions, [False] * num_images, masks=self._masks
        )
        return tuple(found[resolution] for resolution in resolutions)

    def resolution(self, step: int) -> Resolution:
        """Return the resolution of a global step, the same on all ranks (docs/papers.md 1.6)."""
        drawn = self._rng(_RESOLUTION, step).integers(len(self._resolutions))
        return self._resolutions[int(drawn)]

    def _augmentations(self, step: int, indices: Sequence[int]) -> list[Augmentation]:
        """Draw the augmentation of each of this rank's images of a step."""
        drawn = self._rng(_FLIP, step, self._rank).random(len(indices))
        flips = (drawn < self._augmenter.flip_probability).tolist()
        random, resolution = self._rng(_AUGMENTATION, step, self._rank), self.resolution(step)
        return [
            self._augmenter.draw(self._split.records[index], resolution, random, flip=flip)
            for index, flip in zip(indices, flips, strict=True)
        ]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._shuffled is None or self._shuffled[0] != epoch:
            self._shuffled = (epoch, self._rng(_ORDER, epoch).permutation(self._usable))
        return self._shuffled[1]

    def _rng(self, *position: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *position))


def _is_usable(record: ImageRecord, use_empty_images: bool) -> bool:
    """Return whether an image is trained on. A crowd that is left out is no background."""
    return len(record.labels) > 0 or (use_empty_images and not len(record.crowd_labels))


def fixed_batches(
    split: CocoSplit,
    resolution: Resolution,
    batch_size: int,
    indices: Sequence[int] | None = None,
    *,
    masks: bool = False,
) -> Iterator[Batch]:
    """Yield images at one resolution, unflipped, each once, for evaluation and BN statistics.

    The images of a batch have equal size after resizing, so that no image is padded because of
    another and the batch size does not change the result. Images of one size keep their order.

    Args:
        split: Split with the images.
        resolution: Long-side maximum and short-side target, in pixels.
        batch_size: Largest number of images per batch.
        indices: Indices of the images; all by default.
        masks: Whether the batches have the masks of objects, for the losses of a mask head.
    """
    of_size: dict[tuple[int, int], list[int]] = {}
    for index in range(len(split)) if indices is None else indices:
        record = split.records[index]
        size = resized(record.width, record.height, resolution)
        of_size.setdefault(size, []).append(index)
    for same in of_size.values():
        for start in range(0, len(same), batch_size):
            chosen = same[start : start + batch_size]
            yield make_batch(split, chosen, resolution, [False] * len(chosen), masks=masks)


def make_batch(
    split: CocoSplit,
    indices: Sequence[int],
    resolution: Resolution,
    flips: Sequence[bool],
    *,
    masks: bool = False,
) -> Batch:
    """Return images of a split as one batch; see `make_batches`."""
    return make_batches(split, indices, [resolution], flips, masks=masks)[resolution]


def make_batches(
    split: CocoSplit,
    indices: Sequence[int],
    resolutions: Iterable[Resolution],
    flips: Sequence[bool],
    *,
    masks: bool = False,
) -> dict[Resolution, Batch]:
    """Return a batch of the same images for each resolution. Each image is decoded once.

    Args:
        split: Split with the images.
        indices: Indices of the images.
        resolutions: Long-side maximum and short-side target, in pixels; aspect ratios are kept.
        flips: For each image, whether to mirror it left to right.
        masks: Whether the batch has the masks of objects.

    Raises:
        DataError: An image cannot be read, or masks are asked for and an object has none.
    """
    augmentations = [Augmentation(flip=flip) for flip in flips]
    return _normalised(_read(split, indices, resolutions, augmentations, masks=masks))


def _normalised(read: dict[Resolution, PixelBatch]) -> dict[Resolution, Batch]:
    return {resolution: batch.on("cpu") for resolution, batch in read.items()}


def _read(
    split: CocoSplit,
    indices: Sequence[int],
    resolutions: Iterable[Resolution],
    augmentations: Sequence[Augmentation],
    *,
    masks: bool,
) -> dict[Resolution, PixelBatch]:
    decoded = [split.image(index) for index in indices]
    return {
        resolution: _batch(split, indices, decoded, resolution, augmentations, masks=masks)
        for resolution in dict.fromkeys(resolutions)
    }


def resized(width: int, height: int, resolution: Resolution) -> tuple[int, int]:
    """Return an image's width and height at a resolution, in pixels, before padding.

    It is the largest size whose long and short side do not exceed those of the resolution. No side
    becomes 0: the short side of a strip is at least 1 pixel.
    """
    size = mmcv.rescale_size((width, height), (resolution.width, resolution.height))
    return max(1, int(size[0])), max(1, int(size[1]))


def _batch(
    split: CocoSplit,
    indices: Sequence[int],
    decoded: Sequence[NDArray[np.uint8]],
    resolution: Resolution,
    augmentations: Sequence[Augmentation],
    *,
    masks: bool,
) -> PixelBatch:
    records = [(split.masked_records if masks else split.records)[index] for index in indices]
    images = [
        _pixels(image, resolution, augmentation)
        for image, augmentation in zip(decoded, augmentations, strict=True)
    ]
    padded = tuple(
        SIZE_DIVISOR * math.ceil(max(image.shape[axis] for image in images) / SIZE_DIVISOR)
        for axis in (0, 1)
    )
    pixels = np.zeros((len(images), 3, *padded), images[0].dtype)
    for target, image in zip(pixels, images, strict=True):
        height, width = image.shape[:2]
        target[:, :height, :width] = image.transpose(2, 0, 1)
    objects = [
        _objects(record, image.shape[:2], augmentation)
        for record, image, augmentation in zip(records, images, augmentations, strict=True)
    ]
    return PixelBatch(
        pixels=torch.from_numpy(pixels),
        boxes=torch.from_numpy(np.concatenate([boxes for boxes, _ in objects])),
        labels=torch.from_numpy(np.concatenate([labels for _, labels in objects])),
        num_objects=tuple(len(labels) for _, labels in objects),
        metainfo=tuple(
            _metainfo(record, image.shape[:2], padded, augmentation)
            for record, image, augmentation in zip(records, images, augmentations, strict=True)
        ),
        masks=masks_of(records, images, padded, augmentations) if masks else None,
        indices=tuple(indices),
        resolution=resolution,
    )


def _pixels(image: NDArray[np.uint8], resolution: Resolution, augmentation: Augmentation) -> Pixels:
    """Crop, resize, flip and distort one image: H x W x 3."""
    size = _shown_size(image, resolution, augmentation)
    if augmentation.crop is not None:
        left, top, right, bottom = augmentation.crop.window
        image = image[top:bottom, left:right]
    if size != (image.shape[1], image.shape[0]):
        image = mmcv.imresize(image, size)
    if augmentation.flip:
        image = image[:, ::-1]
    return augmentation.distortion(image) if augmentation.distortion else image


def _shown_size(
    image: NDArray[np.uint8], resolution: Resolution, augmentation: Augmentation
) -> tuple[int, int]:
    """Return the width and height of what is shown of an image, in pixels of the input."""
    if augmentation.crop is None:
        return resized(image.shape[1], image.shape[0], resolution)
    left, top, right, bottom = augmentation.crop.window
    factor = augmentation.crop.factor(resolution)
    return tuple(max(1, int(side * factor + 0.5)) for side in (right - left, bottom - top))  # type: ignore[return-value] # two


def _objects(
    record: ImageRecord, image_shape: tuple[int, ...], augmentation: Augmentation
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return boxes, xyxy in pixels of the input, and labels of what an augmentation shows."""
    height, width = image_shape
    boxes, labels = record.boxes, record.labels
    if augmentation.crop is not None:
        crop = augmentation.crop
        boxes, labels = visible(boxes[crop.kept], crop.window), labels[crop.kept]
    boxes = boxes * np.asarray(_scale(record, image_shape, augmentation) * 2, dtype=np.float32)
    if augmentation.flip:
        boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
    return boxes, labels


def _scale(
    record: ImageRecord, image_shape: tuple[int, ...], augmentation: Augmentation
) -> tuple[float, float]:
    """Return the width and height in the input of a pixel of the image."""
    height, width = image_shape
    shown = (record.width, record.height)
    if augmentation.crop is not None:
        left, top, right, bottom = augmentation.crop.window
        shown = (right - left, bottom - top)
    return width / shown[0], height / shown[1]


def _metainfo(
    record: ImageRecord,
    image_shape: tuple[int, ...],
    padded: tuple[int, ...],
    augmentation: Augmentation,
) -> dict[str, Any]:
    return {
        "img_id": record.image_id,
        "img_path": str(record.path),
        "ori_shape": (record.height, record.width),
        "img_shape": tuple(image_shape),
        "scale_factor": _scale(record, image_shape, augmentation),
        "pad_shape": padded,
        "batch_input_shape": padded,
        "flip": augmentation.flip,
    }
