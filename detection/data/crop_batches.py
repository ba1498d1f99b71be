"""Makes the training batches of a crop classifier. DICOD section S2, docs/papers.md 5.1.

Every random draw is a function of the seed and of the position in training.
"""

import numpy as np
import torch
from mmdet.datasets.transforms import Expand, MinIoURandomCrop, PhotoMetricDistortion
from mmdet.structures.bbox import HorizontalBoxes
from numpy.typing import NDArray
from torch.utils.data import Dataset

from detection.build import PIXEL_MEAN
from detection.data.crops import CropBatch, CropSplit, Pixels, as_batch, normalised
from searchd.spec.classifier import ClassifierSpec

_ORDER, _FLIP, _DISTORTION = range(3)
"""Streams of random numbers; each is seeded by (seed, stream, position)."""


class CropBatches(Dataset[CropBatch]):
    """The training batches of all epochs, by their global step. A `DataLoader` may prefetch them.

    An epoch shuffles all crops. Its last batch is filled up with crops from the epoch's start, so
    that all batches are full.
    """

    def __init__(self, crops: CropSplit, spec: ClassifierSpec, *, seed: int = 0) -> None:
        """
        Args:
            crops: The training crops.
            spec: Batch size, input size and augmentation.
            seed: Seed of every draw.
        """
        self._crops, self._spec, self._seed = crops, spec, seed
        self._shuffled: tuple[int, NDArray[np.int64]] | None = None

    @property
    def num_iterations(self) -> int:
        """Batches of one epoch."""
        return -(-len(self._crops) // self._spec.batch_size)

    def __getitem__(self, step: int) -> CropBatch:
        """Return the batch of a global step, counted from 0 over all epochs.

        Raises:
            DataError: An image cannot be read.
        """
        epoch, iteration = divmod(step, self.num_iterations)
        order = self._order(epoch)
        places = np.arange(self._spec.batch_size) + iteration * self._spec.batch_size
        indices = order[places % len(order)]
        flips = self._rng(_FLIP, step).random(len(indices)) < self._spec.flip_probability
        if self._spec.augmentation == "ssd":
            # mmdet's transforms draw from NumPy's global generator.
            np.random.seed(self._rng(_DISTORTION, step).integers(2**32))
        return self._batch(indices, flips)

    def _batch(self, indices: NDArray[np.int64], flips: NDArray[np.bool_]) -> CropBatch:
        images = []
        for index, flip in zip(indices, flips, strict=True):
            pixels: Pixels = self._crops.crop(int(index))
            if self._spec.augmentation == "ssd":
                pixels = distort(pixels)
            images.append(normalised(pixels[:, ::-1] if flip else pixels, self._spec.input_size))
        return as_batch(images, self._crops.labels[indices])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if self._shuffled is None or self._shuffled[0] != epoch:
            self._shuffled = (epoch, self._rng(_ORDER, epoch).permutation(len(self._crops)))
        return self._shuffled[1]

    def _rng(self, *position: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *position))


def distort(pixels: Pixels) -> Pixels:
    """Apply SSD's augmentation (docs/papers.md 5.1, 5.4) to a crop, by mmdet's transforms.

    The crop is treated as an image with one object that fills it. The transforms are photometric
    distortion, expansion by 1 to 4 with the mean pixel, and a random patch that overlaps the
    object. They draw from NumPy's global generator.
    """
    height, width = pixels.shape[:2]
    results = {
        "img": np.ascontiguousarray(pixels[:, :, ::-1]),  # the transforms work on BGR
        "img_shape": (height, width),
        "gt_bboxes": HorizontalBoxes(torch.tensor([[0.0, 0.0, width, height]])),
        "gt_bboxes_labels": np.zeros(1, dtype=np.int64),
    }
    transforms = (
        PhotoMetricDistortion(),
        Expand(mean=PIXEL_MEAN, to_rgb=True, ratio_range=(1, 4)),  # to_rgb reverses the mean
        MinIoURandomCrop(),
    )
    for transform in transforms:
        results = transform(results)
    distorted: Pixels = results["img"][:, :, ::-1]
    return distorted
