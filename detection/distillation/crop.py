"""Crops a detector's input by a spatial transformer. DICOD section KD_loc, docs/papers.md 5.3.

Shapes: N images of H x W pixels, M boxes, crops of s x s pixels. Boxes are xyxy in pixels of
the input.
"""

import torch
from torch import Tensor
from torch.nn import functional

from detection.data.batches import Batch
from detection.distillation.taps import MatchedPredictions
from detection.distillation.two_stage import clip_to_images


def crop(batch: Batch, boxes: Tensor, image: Tensor, size: int) -> Tensor:
    """Crop boxes, resized bilinearly (align_corners=False) without keeping the aspect ratio.

    Gradient flows to the boxes. They are clipped to their images, padding excluded. If a crop is
    larger than its box, sampling can reach half a pixel outside the input, where its border pixels
    are repeated.

    All M crops are computed at once and take M * 3 * s * s floats. No tensor has M * H * W
    elements.

    Args:
        batch: The batch whose inputs are cropped.
        boxes: M x 4.
        image: M, long: image number in the batch.
        size: Side of a crop in pixels, s.

    Returns:
        M x 3 x s x s.
    """
    boxes = clip_to_images(boxes, image, batch)
    if not len(boxes):
        return boxes.new_zeros(0, batch.inputs.shape[1], size, size) + boxes.sum()  # has a graph
    order = image.argsort(stable=True)
    grids = _grids(boxes, batch.inputs, size)[order]
    counts = image.bincount(minlength=len(batch.inputs)).tolist()
    crops = torch.cat(
        [
            _sample(inputs, grid)
            for inputs, grid in zip(batch.inputs, grids.split(counts), strict=True)
            if len(grid)
        ]
    )
    return crops[order.argsort()]


def object_crops(batch: Batch, predictions: MatchedPredictions, size: int) -> tuple[Tensor, Tensor]:
    """Crop the objects that predictions are assigned to, each object once, without gradient.

    Args:
        batch: The batch whose inputs are cropped.
        predictions: The predictions.
        size: Side of a crop in pixels, s.

    Returns:
        G x 3 x s x s for G different objects, and for each prediction the number of its crop; M.
    """
    objects = [sample.gt_instances.bboxes for sample in batch.samples]
    counts = torch.tensor([len(boxes) for boxes in objects], device=predictions.object.device)
    numbers = (counts.cumsum(0) - counts)[predictions.image] + predictions.object
    different, inverse = numbers.unique(return_inverse=True)
    image = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    with torch.no_grad():
        return crop(batch, torch.cat(objects)[different], image[different], size), inverse


def _grids(boxes: Tensor, inputs: Tensor, size: int) -> Tensor:
    """Return where each crop samples its input, in [-1, 1]: M x s x s x 2. This is the matrix A of
    docs/papers.md 5.3."""
    height, width = inputs.shape[-2:]
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    zero = torch.zeros_like(x1)
    rows = [
        torch.stack([(x2 - x1) / width, zero, (x1 + x2) / width - 1], dim=1),
        torch.stack([zero, (y2 - y1) / height, (y1 + y2) / height - 1], dim=1),
    ]
    shape = [len(boxes), inputs.shape[1], size, size]
    return functional.affine_grid(torch.stack(rows, dim=1), shape, align_corners=False)


def _sample(image: Tensor, grid: Tensor) -> Tensor:
    """Crop one image: 3 x H x W and m x s x s x 2 -> m x 3 x s x s.

    All are sampled as one tall crop, since `grid_sample` needs an image for each grid.
    """
    tall = functional.grid_sample(
        image[None], grid.flatten(0, 1)[None], padding_mode="border", align_corners=False
    )
    return tall[0].unflatten(1, grid.shape[:2]).transpose(0, 1)
