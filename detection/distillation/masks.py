"""Makes masks of the objects on a level. G-DetKD Table 6, FGD section 3; docs/papers.md 3.4 and 6.

An object's box on a level is enlarged to whole cells, so that it covers at least one cell on every
level (stride-aligned boxes). Shapes: N images, G objects of all of them, A anchors of all levels.
"""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules import AnchorGenerator
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

Size = tuple[int, int]
"""Height and width of a map, in cells."""


def scale_mask(objects: Sequence[Tensor], cell: float, size: Size) -> Tensor:
    """Return 1 / (cells of the box) inside the boxes and 0 outside; the smallest of overlapping
    boxes counts.

    Args:
        objects: Each image's boxes, xyxy in pixels of the input; may be empty.
        cell: Side of a cell in pixels of the input: the level's stride.
        size: Height and width of the level, in cells.

    Returns:
        N x H x W.
    """
    low, high = _aligned(objects, cell, size)
    area = (high - low).prod(dim=1)
    return _largest(_inside(low, high, size) / area[:, None, None], objects)


def ground_truth_mask(objects: Sequence[Tensor], cell: float, size: Size) -> Tensor:
    """Return 1 inside the boxes and 0 outside. Arguments and shape are those of `scale_mask`."""
    low, high = _aligned(objects, cell, size)
    return _largest(_inside(low, high, size).to(low.dtype), objects)


def gaussian_mask(objects: Sequence[Tensor], cell: float, size: Size) -> Tensor:
    """Return exp(-(dx^2 / (2 sx^2) + dy^2 / (2 sy^2))) around a box's centre with sx = w/4 and
    sy = h/4, and 0 outside the box; the maximum of overlapping boxes.

    Arguments and shape are those of `scale_mask`.
    """
    low, high = _aligned(objects, cell, size)
    x, y = _centres(size, low)
    (centre_x, centre_y), (s_x, s_y) = (low + high).T / 2, (high - low).T / 4
    along_x = torch.exp(-((x - centre_x[:, None]) ** 2) / (2 * s_x[:, None] ** 2))
    along_y = torch.exp(-((y - centre_y[:, None]) ** 2) / (2 * s_y[:, None] ** 2))
    bell = along_y[:, :, None] * along_x[:, None, :]
    return _largest(bell * _inside(low, high, size), objects)


def anchor_masks(
    anchors: AnchorGenerator, objects: Sequence[Tensor], sizes: Sequence[Size]
) -> list[Tensor]:
    """Return 1 in cells with an anchor near an object, else 0.

    An anchor is near an object if their IoU exceeds half of the best IoU that any anchor of the
    image, on any level, has with that object.

    Args:
        anchors: The head's anchors.
        objects: Each image's boxes, xyxy in pixels of the input; may be empty.
        sizes: Height and width of every level of the head, in cells.

    Returns:
        N x H x W for each level.
    """
    like = objects[0]
    levels = anchors.grid_priors(list(sizes), dtype=like.dtype, device=like.device)
    everywhere = torch.cat(list(levels))
    near = torch.stack([_near(boxes, everywhere) for boxes in objects])  # N x A
    return [
        level.view(len(near), *size, -1).any(dim=-1).to(like.dtype)
        for level, size in zip(near.split([len(p) for p in levels], dim=1), sizes, strict=True)
    ]


def _aligned(objects: Sequence[Tensor], cell: float, size: Size) -> tuple[Tensor, Tensor]:
    """Return the first cell of each box and the cell after its last, both G x 2: x, y."""
    boxes = torch.cat(list(objects)) / cell
    limits = boxes.new_tensor([size[1], size[0]])
    low = torch.minimum(boxes[:, :2].floor().clamp(min=0), limits - 1)
    high = torch.maximum(torch.minimum(boxes[:, 2:].ceil(), limits), low + 1)
    return low, high


def _inside(low: Tensor, high: Tensor, size: Size) -> Tensor:
    """Return which cells are inside each box: G x H x W, bool."""
    x, y = _centres(size, low)
    columns = (x > low[:, :1]) & (x < high[:, :1])
    rows = (y > low[:, 1:]) & (y < high[:, 1:])
    return rows[:, :, None] & columns[:, None, :]


def _centres(size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (W) and y (H) of the cells' centres, in cells."""
    height, width = size
    x = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    y = torch.arange(height, dtype=like.dtype, device=like.device) + 0.5
    return x, y


def _largest(values: Tensor, objects: Sequence[Tensor]) -> Tensor:
    """Return each cell's largest value over an image's objects, at least 0: N x H x W."""
    counts = torch.tensor([len(boxes) for boxes in objects], device=values.device)
    image = torch.arange(len(objects), device=values.device).repeat_interleave(counts)
    empty = values.new_zeros(len(objects), *values.shape[1:])
    return empty.scatter_reduce(0, image[:, None, None].expand_as(values), values, "amax")


def _near(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return which anchors are near an object of an image: A, bool."""
    overlaps: Tensor = bbox_overlaps(boxes, anchors)  # G' x A of one image
    return (overlaps > overlaps.amax(dim=1, keepdim=True) / 2).any(dim=0)
