"""The features of regions, each from the level that fits its size; see `graph`."""

from collections.abc import Sequence

import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from detection.deployment.operators import Operators


def pooled(
    levels: Sequence[Tensor],
    regions: Tensor,
    images: Tensor,
    extractor: SingleRoIExtractor,
    operators: Operators,
) -> Tensor:
    """Return what an extractor of mmdet returns, in operators that can be traced.

    Args:
        levels: Feature maps, each B x C x H x W.
        regions: R x 4, xyxy in pixels of the input.
        images: R, int64: the image of each region.
        extractor: Knows the levels, and the size of the result.
        operators: The form of RoIAlign.

    Returns:
        R x C x size x size.
    """
    strides = list(extractor.featmap_strides)
    sides = regions[:, 2:] - regions[:, :2]
    scale = torch.sqrt(sides[:, 0] * sides[:, 1])
    level = torch.floor(torch.log2(scale / extractor.finest_scale + 1e-6))
    level = level.clamp(0, len(strides) - 1).long()
    size = extractor.roi_layers[0].output_size[0]
    return operators.pooled_regions(
        list(levels[: len(strides)]), regions, images, level, strides, size
    )
