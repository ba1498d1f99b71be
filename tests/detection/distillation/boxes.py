"""Overlaps of boxes, by their definitions."""

import torch
from torch import Tensor


def giou(one: Tensor, other: Tensor) -> Tensor:
    """Of boxes at the same place: xyxy, M x 4 each, to M."""
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other)]
    sides = torch.minimum(one, other)[:, 2:] - torch.maximum(one, other)[:, :2]
    both = sides.clamp(min=0).prod(dim=1)
    union = areas[0] + areas[1] - both
    around = (torch.maximum(one, other)[:, 2:] - torch.minimum(one, other)[:, :2]).prod(dim=1)
    return both / union - (around - union) / around
