"""Aligns the features and regions of two detectors that see the images at different sizes.

MTPD section 4.3, docs/papers.md 2.8.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detection.data.batches import Batch


def aligned(features: Tensor, source: Batch, like: Tensor, target: Batch) -> Tensor:
    """Resample a level's features at the cells of another detector's level of the same stride.

    A cell stands for a square of pixels with the stride as its side. Points of the original image
    are located in both maps by the scales of the detectors' inputs, so that padding, and coarse
    maps that reach beyond their input, cause no shift. Interpolation is bilinear between cell
    centres (align_corners=False); the outermost cells are repeated. If both maps show the same part
    of the image, the result is that of `torch.nn.functional.interpolate`; if they also have the
    same size, the features are returned unchanged.

    Args:
        features: N x C x h x w, computed from `source`. Gradient flows to it.
        source: The images at the size of `features`.
        like: N x any x H x W, computed from `target`.
        target: The same images, in the same order and flipped alike.

    Returns:
        N x C x H x W.
    """
    theta = torch.zeros(len(features), 2, 3, dtype=features.dtype, device=features.device)
    for axis, map_axis in enumerate((-1, -2)):  # x, then y
        # Both maps have the same stride, so their extents are in proportion to their cells.
        cells = like.shape[map_axis] / features.shape[map_axis]
        extent = theta.new_tensor(
            [
                cells * seen.scale_factor[axis] / wanted.scale_factor[axis]
                for seen, wanted in zip(source.samples, target.samples, strict=True)
            ]
        )
        # In affine_grid's coordinates a map reaches from -1 to 1, and both maps begin at -1.
        theta[:, axis, axis], theta[:, axis, 2] = extent, extent - 1
    size = like.shape[-2:]
    if features.shape[-2:] == size and not theta[:, :, 2].any():
        return features
    grid = functional.affine_grid(theta, [*features.shape[:2], *size], align_corners=False)
    return functional.grid_sample(
        features, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def to_other_input(rois: Tensor, source: Batch, target: Batch) -> Tensor:
    """Convert regions from the pixels of one detector's input to those of another's.

    Args:
        rois: N x 5, image number in the batch, then xyxy in pixels of `source`.
        source: The images at the size of the regions.
        target: The same images, in the same order and flipped alike.

    Returns:
        N x 5, in pixels of `target`.
    """
    scales = rois.new_tensor(
        [
            [to / at for to, at in zip(wanted.scale_factor, seen.scale_factor, strict=True)]
            for seen, wanted in zip(source.samples, target.samples, strict=True)
        ]
    )
    image = rois[:, :1]
    return torch.cat([image, rois[:, 1:] * scales[image[:, 0].long()].repeat(1, 2)], dim=1)
