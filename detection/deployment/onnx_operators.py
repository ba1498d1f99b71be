"""NMS and RoIAlign in standard ONNX operators; see `operators`.

Shapes: B images, N boxes per image, R regions of all images, C channels.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from onnxscript import ir
from onnxscript.onnx_opset import opset18

from detection.deployment.operators import IGNORED_BELOW

op: Any = opset18  # the types of its operators' results exclude each other
OPSET = 18
"""Version of the standard ONNX operators that exported graphs use."""


def _onnx_kept_by_nms(boxes: Any, scores: Any, iou: float, max_kept: int) -> Any:
    selected = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),
        op.Constant(value_ints=[max_kept]),
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[IGNORED_BELOW]),
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
