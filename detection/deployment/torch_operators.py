"""NMS and RoIAlign in operators of torch alone, which TorchScript files contain; see `operators`.

They compute what mmcv's compiled operators compute, more slowly. They are scripts, so that their
loops stay loops when a detector is traced.

Shapes: B images, N boxes per image, R regions of all images, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detection.deployment.operators import Operators


@torch.jit.script
def kept_by_nms(boxes: Tensor, scores: Tensor, iou: float, max_kept: int) -> Tensor:
    """Return which boxes NMS keeps; B x N, bool."""
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(boxes.shape[0]):
        candidates = torch.nonzero(scores[image] > -0.5).squeeze(1)
        order = scores[image][candidates].sort(dim=0, descending=True)[1]  # ties as in mmcv
        places = candidates[order]
        sorted_boxes = boxes[image][places]
        sides = sorted_boxes[:, 2:] - sorted_boxes[:, :2]
        areas = sides[:, 0] * sides[:, 1]
        alive = torch.ones_like(areas, dtype=torch.bool)
        index, count = 0, 0
        while index < places.shape[0] and count < max_kept:
            if bool(alive[index]):
                kept[image, places[index]] = True
                count += 1
                box = sorted_boxes[index]
                corners = torch.minimum(box[2:], sorted_boxes[:, 2:])
                inside = (corners - torch.maximum(box[:2], sorted_boxes[:, :2])).clamp(min=0)
                common = inside[:, 0] * inside[:, 1]
                alive = alive & ~(common / (areas[index] + areas - common) > iou)
            index += 1
    return kept


@torch.jit.script
def _places(start: Tensor, side: Tensor, size: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return where regions are sampled along one axis, and with which weights.

    Args:
        start: R, the regions' first coordinates in cells.
        side: R, their lengths in cells.
        size: Number of bins of a region.
        cells: Length of the feature map.

    Returns:
        Places from -1 (first cell) to 1 (last), and weights; both R x (size * S), where S is the
        largest number of samples of a bin. Samples outside of the feature map have the weight 0.
    """
    bins = (side / size)[:, None, None]  # R x 1 x 1
    counts = bins.ceil()
    most = max(1, int(counts.max().item()))
    steps = torch.arange(most, device=side.device, dtype=side.dtype)[None, None]
    numbers = torch.arange(size, device=side.device, dtype=side.dtype)[None, :, None]
    places = start[:, None, None] + bins * (numbers + (steps + 0.5) / counts.clamp(min=1))
    counted = (steps < counts) & (places >= -1) & (places <= cells)
    weights = torch.where(counted, 1 / counts.clamp(min=1), torch.zeros_like(places))
    cell = places.clamp(0, cells - 1) * (2 / max(1, cells - 1)) - 1
    return cell.flatten(1), weights.flatten(1)


@torch.jit.script
def _aligned(level: Tensor, regions: Tensor, size: int) -> Tensor:
    """Return the features of regions of one image: R x C x size x size.

    Args:
        level: C x H x W.
        regions: R x 4, xyxy in cells of the level.
        size: Height and width of the result.
    """
    sides = regions[:, 2:] - regions[:, :2]
    channels, height, width = level.shape[0], level.shape[1], level.shape[2]
    xs, x_weights = _places(regions[:, 0], sides[:, 0], size, width)
    ys, y_weights = _places(regions[:, 1], sides[:, 1], size, height)
    num_ys, num_xs = ys.shape[1], xs.shape[1]
    found = [level.new_zeros(0, channels, size, size)]
    step = max(1, 20_000_000 // max(1, channels * num_ys * num_xs))  # at most 80 MB at a time
    for first in range(0, regions.shape[0], step):
        x, y = xs[first : first + step], ys[first : first + step]
        count = x.shape[0]
        grid = torch.stack(
            [x[:, None].expand(count, num_ys, num_xs), y[:, :, None].expand(count, num_ys, num_xs)],
            dim=-1,
        )
        samples = functional.grid_sample(
            level[None], grid.reshape(1, count * num_ys, num_xs, 2), align_corners=True
        ).reshape(channels, count, num_ys, num_xs)
        weighted = samples * x_weights[first : first + step][:, None]
        weighted = weighted * y_weights[first : first + step][:, :, None]
        bins = weighted.reshape(channels, count, size, num_ys // size, size, num_xs // size)
        found.append(bins.sum(dim=[3, 5]).permute(1, 0, 2, 3))
    return torch.cat(found)


@torch.jit.script
def pooled_regions(
    levels: list[Tensor],
    regions: Tensor,
    image_indices: Tensor,
    level_indices: Tensor,
    strides: list[int],
    size: int,
) -> Tensor:
    """Return the features of regions by RoIAlign, each from one level; R x C x size x size."""
    pooled = levels[0].new_zeros(regions.shape[0], levels[0].shape[1], size, size)
    for index in range(len(levels)):
        for image in range(levels[0].shape[0]):
            chosen = torch.nonzero((level_indices == index) & (image_indices == image)).squeeze(1)
            if chosen.shape[0] > 0:
                scaled = regions[chosen] * (1 / strides[index]) - 0.5
                pooled[chosen] = _aligned(levels[index][image], scaled, size)
    return pooled


TORCH_ONLY = Operators(kept_by_nms=kept_by_nms, pooled_regions=pooled_regions)
"""Operators of torch alone."""
