"""Lets mmcv's deformable convolution compute a batch of any size.

It takes 32 images at once, and fails on a larger batch that is no multiple of that; VFNet and TOOD,
whose heads call it, have no option for it. `use_any_batch` replaces it in both.
"""

from math import gcd
from typing import Any

from mmcv.ops import deform_conv
from mmcv.ops.deform_conv import DeformConv2dFunction
from mmdet.models.dense_heads import tood_head
from torch import Tensor

AT_ONCE = 32
"""mmcv's number of images."""


def deform_conv2d(x: Tensor, offset: Tensor, weight: Tensor, *options: Any) -> Tensor:
    """Compute mmcv's function of this name; the arguments are the same.

    Args:
        x: N x C x H x W; N may be any number.
        offset: Offsets of what is read.
        weight: Weights of the convolution.
        options: mmcv's further arguments, of which the seventh is the number of images at once.
    """
    given: tuple[Any, ...] = (1, 0, 1, 1, 1, False, AT_ONCE)
    values = [*options, *given[len(options) :]]
    step = int(values[-1])
    at_once = step if len(x) <= step else gcd(len(x), step)
    found: Tensor = DeformConv2dFunction.apply(x, offset, weight, *values[:-1], at_once)
    return found


def use_any_batch() -> None:
    """Replace mmcv's function where heads call it."""
    deform_conv.deform_conv2d = deform_conv2d
    tood_head.deform_conv2d = deform_conv2d
