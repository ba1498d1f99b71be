"""From an instance to the query that ICD's decoder is asked by. ICD, docs/papers.md 4.1."""

import torch
from mmdet.models.layers import MLP, coordinate_to_encoding
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 256
"""Of queries, keys and values, all heads together."""
JITTER = 0.3
"""How far a centre is moved, at most, as a share of the box's side."""
SCALE_BOUNDS = (64.0, 128.0, 256.0, 512.0)
"""Where one scale ends and the next begins, in pixels of the input."""
POSITION_CHANNELS = 128
"""Of each coordinate's embedding."""
NUM_SCALES = len(SCALE_BOUNDS) + 1


class InstanceEncoder(nn.Module):
    """A descriptor's three-layer perceptron.

    Attributes:
        perceptron: 346 channels for COCO's 80 classes, 256, 256, 256.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self._num_classes = num_classes
        described = num_classes + 2 * POSITION_CHANNELS + 2 * NUM_SCALES
        self.perceptron = MLP(described, WIDTH, WIDTH, 3)

    def forward(self, labels: Tensor, centres: Tensor, sizes_px: Tensor) -> Tensor:
        """B x I x 256 queries; the arguments are those of `descriptors`."""
        queries: Tensor = self.perceptron(descriptors(labels, centres, sizes_px, self._num_classes))
        return queries


def disturbed_centres(boxes: Tensor) -> Tensor:
    """Centres that do not give the box away: moved by up to 0.3 of width and height.

    An object's stays inside its box. The moves come from torch's global generator.

    Args:
        boxes: B x I x 4, xyxy.

    Returns:
        B x I x 2, x and y.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    moves = torch.empty_like(sides).uniform_(-JITTER, JITTER)
    return (boxes[..., :2] + boxes[..., 2:]) / 2 + moves * sides


def descriptors(labels: Tensor, centres: Tensor, sizes_px: Tensor, num_classes: int) -> Tensor:
    """One-hot class, sinusoids of the centre (y, then x), one-hot scales of width and of height.

    Args:
        labels: B x I, long.
        centres: B x I x 2, x and y as shares of the image, disturbed.
        sizes_px: B x I x 2, width and height in pixels of the input.
        num_classes: K.

    Returns:
        B x I x (K + 266).
    """
    bounds = torch.tensor(SCALE_BOUNDS, dtype=sizes_px.dtype, device=sizes_px.device)
    scales = torch.bucketize(sizes_px, bounds, right=True)  # a bound starts its scale
    return torch.cat(
        [
            functional.one_hot(labels, num_classes).to(centres.dtype),
            coordinate_to_encoding(centres, num_feats=POSITION_CHANNELS),
            functional.one_hot(scales, NUM_SCALES).flatten(start_dim=2).to(centres.dtype),
        ],
        dim=2,
    )
