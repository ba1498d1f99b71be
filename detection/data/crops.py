"""Cuts one crop per object out of a detection split, to train a classifier. DICOD section S2,
docs/papers.md 5.1.

Crowds, boxes without area and boxes with a side below one pixel have no crop; the last rule is
mmdet's too. A crop has all pixels that its box touches. It is resized without keeping the aspect
ratio, and normalised like the inputs of detectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mmcv
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.build import PIXEL_MEAN, PIXEL_STD
from detection.data.coco import CocoSplit
from searchd.domain.errors import DataError

MIN_SIDE_PX = 1.0
"""Smallest side of a box with a crop, in pixels."""
ROUNDING_PX = 1e-3
"""Rounding error of a side in pixels, since boxes are stored as corners in float32."""

Pixels = NDArray[Any]
"""H x W x 3, RGB, 0 to 255; uint8, or float32 once distorted."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropBatch:
    """The input of a classifier, and its labels."""

    inputs: Tensor
    """N x 3 x s x s, float, RGB, normalised."""
    labels: Tensor
    """N, long."""

    def to(self, device: torch.device | str) -> "CropBatch":
        """Return the batch on a device."""
        return CropBatch(inputs=self.inputs.to(device), labels=self.labels.to(device))


class CropSplit:
    """The objects of a split, by their number.

    Attributes:
        split: Split with the images.
        images: Index in the split of each object's image, n.
        boxes: n x 4, xyxy, in pixels of the original image.
        labels: n, in 0..num_classes-1.
    """

    def __init__(self, split: CocoSplit) -> None:
        """
        Raises:
            DataError: The split has no object of at least one pixel a side.
        """
        none = np.zeros((0, 4), dtype=np.float32)
        boxes = np.concatenate([none, *(record.boxes for record in split.records)])
        kept = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) >= MIN_SIDE_PX - ROUNDING_PX
        if not kept.any():
            raise DataError(
                f"{split.spec.annotations}: no object has at least {MIN_SIDE_PX} pixel a side, "
                "so there is no crop to train on"
            )
        counts = [len(record.labels) for record in split.records]
        self.split = split
        self.images = np.repeat(np.arange(len(counts)), counts)[kept]
        self.boxes = boxes[kept]
        self.labels = np.concatenate([record.labels for record in split.records])[kept]

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.labels)

    def crop(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels that an object's box touches: H x W x 3, RGB. Do not write to them.

        Raises:
            DataError: The image cannot be read.
        """
        image = self.split.image(int(self.images[index]))
        left, top = np.floor(self.boxes[index, :2]).astype(int)
        right, bottom = np.ceil(self.boxes[index, 2:]).astype(int)
        return image[top:bottom, left:right]


def fixed_crop_batches(crops: CropSplit, input_size: int, batch_size: int) -> Iterator[CropBatch]:
    """Yield every crop once, in order, not augmented.

    Args:
        crops: The crops.
        input_size: Side of the classifier's input, in pixels.
        batch_size: Largest number of crops per batch.

    Raises:
        DataError: An image cannot be read.
    """
    for start in range(0, len(crops), batch_size):
        indices = range(start, min(start + batch_size, len(crops)))
        images = [normalised(crops.crop(index), input_size) for index in indices]
        yield as_batch(images, crops.labels[indices.start : indices.stop])


def normalised(pixels: Pixels, size: int) -> NDArray[np.float32]:
    """Resize and normalise a crop for the classifier: size x size x 3."""
    resized = mmcv.imresize(np.ascontiguousarray(pixels), (size, size)).astype(np.float32)
    mean, std = (np.asarray(value, dtype=np.float32) for value in (PIXEL_MEAN, PIXEL_STD))
    return np.asarray((resized - mean) / std)


def as_batch(images: Sequence[NDArray[np.float32]], labels: NDArray[np.int64]) -> CropBatch:
    """Return normalised crops and their labels as a batch."""
    inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return CropBatch(inputs=inputs, labels=torch.from_numpy(labels.copy()))
