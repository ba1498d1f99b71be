"""NMS and RoIAlign as operators that torch.export can trace.

mmcv's compiled operators cannot be traced: they need real numbers. Each operator here calls mmcv
when it runs, and states only its shape when it is traced.

Shapes: B images, N boxes per image, R regions of all images, C channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmcv.ops import nms, roi_align
from torch import Tensor

LEFT_OUT = -1.0
"""Score of a box that is no candidate. NMS ignores it."""
IGNORED_BELOW = -0.5
"""Between `LEFT_OUT` and the smallest score, 0."""


@torch.library.custom_op("searchd::kept_by_nms", mutates_args=())
def kept_by_nms(boxes: Tensor, scores: Tensor, iou: float, max_kept: int) -> Tensor:
    """Return which boxes NMS keeps.

    Args:
        boxes: B x N x 4, xyxy.
        scores: B x N, at least 0; `LEFT_OUT` for boxes that are no candidates.
        iou: A box is dropped if its IoU with a kept box of a higher score is above this.
        max_kept: Largest number of boxes that are kept of an image, those with the best scores.

    Returns:
        B x N, bool.
    """
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for image in range(len(boxes)):
        (candidates,) = torch.where(scores[image] > IGNORED_BELOW)
        if len(candidates):
            _, order = nms(boxes[image, candidates], scores[image, candidates], iou)
            kept[image, candidates[order[:max_kept]]] = True
    return kept


@kept_by_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float, max_kept: int) -> Tensor:
    del boxes, iou, max_kept
    return torch.empty_like(scores, dtype=torch.bool)


@torch.library.custom_op("searchd::pooled_regions", mutates_args=())
def pooled_regions(
    levels: Sequence[Tensor],
    regions: Tensor,
    image_indices: Tensor,
    level_indices: Tensor,
    strides: Sequence[int],
    size: int,
) -> Tensor:
    """Return the features of regions by RoIAlign, each from one level.

    Args:
        levels: Feature maps, each B x C x H x W.
        regions: R x 4, xyxy in pixels of the input.
        image_indices: R, int64: the image of each region.
        level_indices: R, int64: the level that each region is pooled from.
        strides: Pixels per cell of each level.
        size: Height and width of the result.

    Returns:
        R x C x size x size.
    """
    pooled = levels[0].new_zeros(len(regions), levels[0].shape[1], size, size)
    rois = torch.cat([image_indices[:, None].to(regions.dtype), regions], dim=1)
    for index, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        (chosen,) = torch.where(level_indices == index)
        if len(chosen):
            pooled[chosen] = roi_align(level, rois[chosen], size, 1 / stride, 0, "avg", True)
    return pooled


@pooled_regions.register_fake
def _(
    levels: Sequence[Tensor],
    regions: Tensor,
    image_indices: Tensor,
    level_indices: Tensor,
    strides: Sequence[int],
    size: int,
) -> Tensor:
    del image_indices, level_indices, strides
    return levels[0].new_empty(regions.shape[0], levels[0].shape[1], size, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operators:
    """The two operators in one form; see `kept_by_nms` and `pooled_regions`."""

    kept_by_nms: Callable[[Tensor, Tensor, float, int], Tensor]
    pooled_regions: Callable[[list[Tensor], Tensor, Tensor, Tensor, list[int], int], Tensor]


CUSTOM = Operators(kept_by_nms=kept_by_nms, pooled_regions=pooled_regions)
"""mmcv's operators, which torch.export can trace."""
