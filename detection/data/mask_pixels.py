"""Draws the masks of objects as a batch shows their images: cropped, resized, flipped, padded."""

from collections.abc import Iterator, Sequence

import mmcv
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.data.augmentations import Augmentation
from detection.data.masks import drawn
from detection.data.records import ImageRecord

Bits = NDArray[np.uint8]
"""Height x width; 1 inside of an object, 0 outside."""


def masks_of(
    records: Sequence[ImageRecord],
    images: Sequence[NDArray[np.generic]],
    padded: tuple[int, ...],
    augmentations: Sequence[Augmentation],
) -> Tensor:
    """Return the masks of the objects that a batch shows, in the order of their boxes.

    Args:
        records: The images of the batch, each of whose objects has a mask.
        images: Their pixels as the batch shows them, height x width x 3.
        padded: Height and width of the batch.
        augmentations: What was done to each image.

    Returns:
        M x H x W, uint8: the objects of all images, one after the other.
    """
    found = [
        mask
        for record, image, augmentation in zip(records, images, augmentations, strict=True)
        for mask in _shown(record, image.shape[:2], augmentation)
    ]
    masks = np.zeros((len(found), *padded), np.uint8)
    for target, mask in zip(masks, found, strict=True):
        target[: mask.shape[0], : mask.shape[1]] = mask
    return torch.from_numpy(masks)


def _shown(
    record: ImageRecord, shape: tuple[int, ...], augmentation: Augmentation
) -> Iterator[Bits]:
    crop = augmentation.crop
    for index in range(len(record.masks)) if crop is None else crop.kept.tolist():
        mask = record.masks[index]
        assert mask is not None  # checked by `CocoSplit.masked_records`
        bits = drawn(mask, record.width, record.height)
        if crop is not None:
            left, top, right, bottom = crop.window
            bits = bits[top:bottom, left:right]
        height, width = shape
        bits = mmcv.imresize(np.ascontiguousarray(bits), (width, height), interpolation="nearest")
        yield bits[:, ::-1] if augmentation.flip else bits
