"""The same places for two detectors, when each saw the images at its own size.

MTPD section 4.3, docs/papers.md 2.8.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detection.data.batches import Batch


def aligned(features: Tensor, source: Batch, like: Tensor, target: Batch) -> Tensor:
    """A level's features at the places of another detector's cells of the same stride.

    Each cell stands for the square of pixels that it has by its stride. The same point of the
    original image is found in both maps by the scales at which the detectors saw it; so padding,
    and coarse maps that reach beyond their input, shift nothing. Bilinear between cell centres
    (align_corners=False), the outermost cells continued; where both maps show the same part of the
    image that is `torch.nn.functional.interpolate`, and where they also have one size, nothing is
    done.

    Args:
        features: N x C x h x w, made of `source`. Gradient flows to it.
        source: The images at the size at which `features` saw them.
        like: N x any x H x W, made of `target`.
        target: The same images, in the same order and flipped alike.

    Returns:
        N x C x H x W.
    """
    theta = torch.zeros(len(features), 2, 3, dtype=features.dtype, device=features.device)
    for axis, map_axis in enumerate((-1, -2)):  # x, then y
        # Both maps have one stride, so their extents in pixels are as their numbers of cells.
        cells = like.shape[map_axis] / features.shape[map_axis]
        extent = theta.new_tensor(
            [
                cells * seen.scale_factor[axis] / wanted.scale_factor[axis]
                for seen, wanted in zip(source.samples, target.samples, strict=True)
            ]
        )
        # In affine_grid's coordinates a map reaches from -1 to 1; both maps begin at -1.
        theta[:, axis, axis], theta[:, axis, 2] = extent, extent - 1
    size = like.shape[-2:]
    if features.shape[-2:] == size and not theta[:, :, 2].any():
        return features
    grid = functional.affine_grid(theta, [*features.shape[:2], *size], align_corners=False)
    return functional.grid_sample(
        features, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def on_other(rois: Tensor, source: Batch, target: Batch) -> Tensor:
    """Regions of the images as one detector saw them, as another did.

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
