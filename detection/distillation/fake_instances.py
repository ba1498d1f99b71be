"""The instances of ICD's decoder: a batch's objects, and fake ones that are not in the images.
ICD section A, docs/papers.md 4.2."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from detection.data.batches import Batch
from detection.data.coco import CocoSplit

SIDE_LIMITS = (0.002, 0.7)
"""Smallest and largest side of a fake instance, as a share of the image's."""
CENTRE_LIMITS = (0.03, 0.97)
"""Range of a fake instance's centre, as a share of the image's side."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instances:
    """Instances of B images, with I places for each image. The last places may be unused."""

    boxes: Tensor
    """B x I x 4, xyxy, as shares of the image without its padding."""
    labels: Tensor
    """B x I, long."""
    is_real: Tensor
    """B x I, bool: whether it is an object of the image."""
    is_used: Tensor
    """B x I, bool: whether it is a real or fake instance; False for unused places."""
    image_sizes: Tensor
    """B x 2, width and height in pixels of the input, without padding."""

    @property
    def sizes_px(self) -> Tensor:
        """B x I x 2, width and height of the boxes in pixels of the input."""
        return (self.boxes[..., 2:] - self.boxes[..., :2]) * self.image_sizes[:, None]


class FakeInstances(nn.Module):
    """Draws boxes with the statistics of a training split, independently of images.

    Classes are drawn by their frequency in the split, sides from a Gaussian with the class's mean
    and variance, and centres uniformly. Sides are shares of the image's. Draws come from torch's
    global generator.

    Attributes:
        frequencies: Number of objects of each class, K.
        means: Mean width and height of each class, K x 2.
        deviations: Standard deviation of width and height of each class, K x 2.
    """

    frequencies: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(self, split: CocoSplit, num_classes: int) -> None:
        """Measure the split.

        Args:
            split: The split whose statistics are used.
            num_classes: Number of classes, at least the split's.
        """
        super().__init__()
        labels = np.concatenate([record.labels for record in split.records])
        sides = np.concatenate(
            [(r.boxes[:, 2:] - r.boxes[:, :2]) / (r.width, r.height) for r in split.records]
        )
        counts = np.bincount(labels, minlength=num_classes)

        def of_class(values: NDArray[np.float64]) -> NDArray[np.float64]:
            """Means of n x 2 values over each class: K x 2; 0 for a class without objects."""
            sums = [np.bincount(labels, weights=v, minlength=num_classes) for v in values.T]
            return np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]

        means = of_class(sides)
        deviations = np.sqrt(of_class((sides - means[labels]) ** 2))
        # Statistics of the data are not part of the state.
        for name, value in [("frequencies", counts), ("means", means), ("deviations", deviations)]:
            self.register_buffer(name, torch.from_numpy(value).float(), persistent=False)

    def forward(self, number: int) -> tuple[Tensor, Tensor]:
        """Draw boxes, number x 4, xyxy as shares of the image, and their labels, number."""
        labels = torch.multinomial(self.frequencies, number, replacement=True)
        spread = torch.randn_like(self.means[labels]).clamp(-2, 2)
        sides = (self.means[labels] + self.deviations[labels] * spread).clamp(*SIDE_LIMITS)
        low, high = CENTRE_LIMITS
        centres = low + (high - low) * torch.rand_like(sides)
        boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
        return boxes.clamp(0, 1), labels


class InstanceSampler(nn.Module):
    """Samples the objects of a batch and fake instances, at most `max_instances` per image.

    If there are too many, fakes are left out first; if there are too many objects, some are drawn.
    """

    def __init__(self, fakes: FakeInstances, fake_per_object: int, max_instances: int) -> None:
        """
        Args:
            fakes: The source of fake instances.
            fake_per_object: Number of fake instances per object.
            max_instances: Largest number of instances per image.
        """
        super().__init__()
        self._fakes = fakes
        self._fake_per_object, self._max_instances = fake_per_object, max_instances

    def forward(self, batch: Batch) -> Instances:
        """Return the instances of a batch, the real ones first."""
        sizes = torch.tensor(
            [sample.metainfo["img_shape"][1::-1] for sample in batch.samples],
            dtype=torch.float32,
            device=batch.inputs.device,
        )
        images = [
            self._of_image(sample.gt_instances.bboxes / size.repeat(2), sample.gt_instances.labels)
            for sample, size in zip(batch.samples, sizes, strict=True)
        ]
        boxes, labels, is_real, is_used = (
            pad_sequence(list(values), batch_first=True) for values in zip(*images, strict=True)
        )
        return Instances(
            boxes=boxes, labels=labels, is_real=is_real, is_used=is_used, image_sizes=sizes
        )

    def _of_image(self, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return boxes, labels, `is_real` and `is_used` (all True) of n objects and their fakes."""
        if len(boxes) > self._max_instances:
            kept = torch.randperm(len(boxes), device=boxes.device)[: self._max_instances]
            boxes, labels = boxes[kept], labels[kept]
        wanted = self._fake_per_object * len(boxes)
        num_fakes = min(wanted, self._max_instances - len(boxes))
        if num_fakes:
            fake_boxes, fake_labels = self._fakes(num_fakes)
            boxes, labels = torch.cat([boxes, fake_boxes]), torch.cat([labels, fake_labels])
        is_real = torch.arange(len(boxes), device=boxes.device) < len(boxes) - num_fakes
        return boxes, labels, is_real, torch.ones_like(is_real)
