"""Anchors and points of a feature map, computed from its size while the graph runs."""

import torch
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from torch import Tensor, nn


class AnchorGrids(nn.Module):
    """The anchors of every level, xyxy in pixels of the input."""

    def __init__(self, generator: AnchorGenerator) -> None:
        super().__init__()
        self.strides = [stride[0] for stride in generator.strides]
        for number, anchors in enumerate(generator.base_anchors):
            self.register_buffer(f"base{number}", anchors, persistent=False)

    def forward(self, level: int, feature: Tensor) -> Tensor:
        """Return the anchors of a level, cells row by row: (H * W * A) x 4.

        Args:
            level: Number of the level.
            feature: ... x H x W.
        """
        corners = centres(feature, self.strides[level], offset=0.0)
        shifts = torch.cat([corners, corners], dim=1)
        base = self.get_buffer(f"base{level}")
        return (shifts[:, None] + base[None]).reshape(-1, 4)


def centres(feature: Tensor, stride: int, offset: float) -> Tensor:
    """Return x and y of one point per cell, row by row: (H * W) x 2, in pixels of the input.

    Args:
        feature: ... x H x W.
        stride: Pixels per cell.
        offset: Place of the point in its cell, from 0 (left and top) to 1.
    """
    height, width = feature.shape[-2:]
    xs = (torch.arange(width, device=feature.device, dtype=torch.float32) + offset) * stride
    ys = (torch.arange(height, device=feature.device, dtype=torch.float32) + offset) * stride
    grid = torch.stack([xs[None].expand(height, width), ys[:, None].expand(height, width)], dim=-1)
    return grid.reshape(-1, 2)


def in_rows(maps: Tensor, values: int) -> Tensor:
    """Return a head's output with a row for each prior: B x (A * V) x H x W -> B x (H * W * A) x V.

    Args:
        maps: Output of a head.
        values: V, the number of values of a prior.
    """
    return maps.permute(0, 2, 3, 1).reshape(maps.shape[0], -1, values)
