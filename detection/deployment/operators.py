"""NMS and RoIAlign as operators that torch.export can trace and ONNX has.

mmcv's compiled operators cannot be traced: they need real numbers. Each operator here calls mmcv
when it runs, states only its shape when it is traced, and is translated into standard ONNX
operators of opset `OPSET`.

Shapes: B images, N boxes per image, R regions of all images, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmcv.ops import nms, roi_align
from onnxscript import ir
from onnxscript.onnx_opset import opset18
from torch import Tensor

op: Any = opset18  # the types of its operators' results exclude each other
OPSET = 18
"""Version of the standard ONNX operators that exported graphs use."""
LEFT_OUT = -1.0
"""Score of a box that is no candidate. NMS ignores it."""
_IGNORED_BELOW = -0.5
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
        (candidates,) = torch.where(scores[image] > _IGNORED_BELOW)
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


def _onnx_kept_by_nms(boxes: Any, scores: Any, iou: float, max_kept: int) -> Any:
    selected = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),
        op.Constant(value_ints=[max_kept]),
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[_IGNORED_BELOW]),
    )
    places = op.Gather(selected, op.Constant(value_ints=[0, 2]), axis=1)  # image, box
    is_kept = op.Expand(
        op.Constant(value_ints=[1]), op.Shape(op.Gather(selected, op.Constant(value_int=0), axis=1))
    )
    nothing = op.Expand(op.Constant(value_ints=[0]), op.Shape(scores))
    return op.Cast(op.ScatterND(nothing, places, is_kept), to=ir.DataType.BOOL)


def _onnx_pooled_regions(
    levels: Sequence[Any],
    regions: Any,
    image_indices: Any,
    level_indices: Any,
    strides: Sequence[int],
    size: int,
) -> Any:
    num_regions = op.Shape(regions, start=0, end=1)
    channels = op.Shape(levels[0], start=1, end=2)
    shape = op.Concat(num_regions, channels, op.Constant(value_ints=[size, size]), axis=0)
    pooled = op.Expand(op.CastLike(op.Constant(value_float=0.0), regions), shape)
    for index, (level, stride) in enumerate(zip(levels, strides, strict=True)):
        is_chosen = op.Equal(level_indices, op.Constant(value_int=index))
        chosen = op.Reshape(op.NonZero(is_chosen), op.Constant(value_ints=[-1]))
        features = op.RoiAlign(
            level,
            op.Gather(regions, chosen, axis=0),
            op.Gather(image_indices, chosen, axis=0),
            coordinate_transformation_mode="half_pixel",
            mode="avg",
            output_height=size,
            output_width=size,
            sampling_ratio=0,
            spatial_scale=1 / stride,
        )
        places = op.Unsqueeze(chosen, op.Constant(value_ints=[1]))
        pooled = op.ScatterND(pooled, places, features)
    return pooled


TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.searchd.kept_by_nms.default: _onnx_kept_by_nms,
    torch.ops.searchd.pooled_regions.default: _onnx_pooled_regions,
}
"""How torch's exporter writes each operator in ONNX."""
