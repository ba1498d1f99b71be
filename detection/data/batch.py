"""A batch for mmdet detectors: as it is read, in bytes, and as a detector takes it, normalised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor

from detection.build import PIXEL_MEAN, PIXEL_STD
from searchd.domain.resolution import Resolution


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The input of `FasterRCNN.loss` and `.predict`; see `detection.build`."""

    inputs: Tensor
    """N x 3 x H x W, float, RGB, normalised; zeros to the right and below; H, W multiples of 32."""
    samples: list[DetDataSample]
    """`gt_instances`: boxes xyxy in pixels of `inputs`, and labels; masks of that size if they were
    asked for."""
    indices: tuple[int, ...]
    """Indices of the images in their split."""
    resolution: Resolution

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on a device."""
        if self.inputs.device == torch.device(device):
            return self
        return replace(
            self,
            inputs=self.inputs.to(device),
            samples=[sample.to(device) for sample in self.samples],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PixelBatch:
    """A batch as it is read. It moves to a device in three copies, and is normalised there."""

    pixels: Tensor
    """N x 3 x H x W, RGB, zeros to the right and below; uint8, or float if colours were changed."""
    boxes: Tensor
    """M x 4, float, xyxy in pixels of the input: those of all images, one after the other."""
    labels: Tensor
    """M, long."""
    num_objects: tuple[int, ...]
    """Number of objects of each image."""
    masks: Tensor | None = None
    """M x H x W, uint8, 1 inside of each object; None unless they were asked for. They stay on the
    CPU, from where mmdet's mask heads cut what they need."""
    metainfo: tuple[dict[str, Any], ...]
    """What mmdet's heads read of each image, such as `img_shape`."""
    indices: tuple[int, ...]
    """Indices of the images in their split."""
    resolution: Resolution

    def pin_memory(self) -> "PixelBatch":
        """Return the batch in memory from which a GPU copies without blocking. A `DataLoader` calls
        this."""
        return replace(
            self,
            pixels=self.pixels.pin_memory(),
            boxes=self.boxes.pin_memory(),
            labels=self.labels.pin_memory(),
        )

    def on(self, device: torch.device | str) -> Batch:
        """Return the batch on a device, normalised there. The caller does not wait for the copies
        of pinned memory."""
        pixels, boxes, labels = (
            tensor.to(device, non_blocking=True)
            for tensor in (self.pixels, self.boxes, self.labels)
        )
        shapes = [info["img_shape"] for info in self.metainfo]
        samples = [
            _sample(info, *found)
            for info, *found in zip(
                self.metainfo,
                boxes.split(self.num_objects),
                labels.split(self.num_objects),
                self._masks_by_image(),
                strict=True,
            )
        ]
        return Batch(
            inputs=_normalised(pixels, shapes),
            samples=samples,
            indices=self.indices,
            resolution=self.resolution,
        )

    def _masks_by_image(self) -> Sequence[Tensor | None]:
        return (
            [None] * len(self.num_objects)
            if self.masks is None
            else self.masks.split(self.num_objects)
        )


def _normalised(pixels: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
    """Return normalised pixels, with zeros outside the images' heights and widths."""
    mean, std = _mean_and_std(pixels.device)
    inputs = pixels.sub(mean).div_(std)
    for image, (height, width) in zip(inputs, shapes, strict=True):
        image[:, height:] = 0
        image[:, :, width:] = 0
    return inputs


@cache  # a GPU would wait for each copy
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, device=device) for values in (PIXEL_MEAN, PIXEL_STD))
    return mean.view(3, 1, 1), std.view(3, 1, 1)


def _sample(
    metainfo: Mapping[str, Any], boxes: Tensor, labels: Tensor, masks: Tensor | None
) -> DetDataSample:
    sample = DetDataSample(metainfo=metainfo)
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    if masks is not None:
        sample.gt_instances.masks = BitmapMasks(masks.numpy(), *masks.shape[-2:])
    return sample
