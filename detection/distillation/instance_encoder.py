"""Encodes instances as queries of ICD's decoder. ICD, docs/papers.md 4.1."""

import torch
from mmdet.models.layers import MLP, coordinate_to_encoding
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 256
"""Channels of queries, keys and values over all heads."""
JITTER = 0.3
"""Largest shift of a centre, as a share of the box's side."""
SCALE_BOUNDS = (64.0, 128.0, 256.0, 512.0)
"""Bounds between scales, in pixels of the input."""
POSITION_CHANNELS = 128
"""Channels of each coordinate's embedding."""
NUM_SCALES = len(SCALE_BOUNDS) + 1


class InstanceEncoder(nn.Module):
    """A three-layer perceptron over descriptors of instances.

    Attributes:
        perceptron: Layers of 346 (for COCO's 80 classes), 256, 256 and 256 channels.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._num_classes = num_classes
        descriptor_channels = num_classes + 2 * POSITION_CHANNELS + 2 * NUM_SCALES
        self.perceptron = MLP(descriptor_channels, WIDTH, WIDTH, 3)

    def forward(self, labels: Tensor, centres: Tensor, sizes_px: Tensor) -> Tensor:
        """Return queries, B x I x 256. For the arguments see `descriptors`."""
        queries: Tensor = self.perceptron(descriptors(labels, centres, sizes_px, self._num_classes))
        return queries


def shifted_centres(boxes: Tensor) -> Tensor:
    """Return centres that are shifted by up to 0.3 of width and height, to hide the exact box.

    A centre stays inside its box. Shifts are drawn from torch's global generator.

    Args:
        boxes: B x I x 4, xyxy.

    Returns:
        B x I x 2, x and y.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    shifts = torch.empty_like(sides).uniform_(-JITTER, JITTER)
    return (boxes[..., :2] + boxes[..., 2:]) / 2 + shifts * sides


def descriptors(labels: Tensor, centres: Tensor, sizes_px: Tensor, num_classes: int) -> Tensor:
    """Return the descriptors of instances: the one-hot class, sinusoids of the centre (y, then x),
    and one-hot scales of width and height.

    Args:
        labels: B x I, long.
        centres: B x I x 2, x and y as shares of the image, with noise.
        sizes_px: B x I x 2, width and height in pixels of the input.
        num_classes: Number of classes, K.

    Returns:
        B x I x (K + 266).
    """
    bounds = torch.tensor(SCALE_BOUNDS, dtype=sizes_px.dtype, device=sizes_px.device)
    scales = torch.bucketize(sizes_px, bounds, right=True)  # a bound belongs to the larger scale
    return torch.cat(
        [
            functional.one_hot(labels, num_classes).to(centres.dtype),
            coordinate_to_encoding(centres, num_feats=POSITION_CHANNELS),
            functional.one_hot(scales, NUM_SCALES).flatten(start_dim=2).to(centres.dtype),
        ],
        dim=2,
    )
