"""How far apart two predictions of one-stage heads are, at every place of the same cells.

Shapes: N images, A anchors or points of all levels, K classes.
"""

import torch
from mmdet.models.losses.iou_loss import giou_loss
from torch import Tensor
from torch.nn import functional

from detection.distillation.dense_predictions import DensePredictions


def quality_focal_loss(predicted: Tensor, target: Tensor, focus: float) -> Tensor:
    """Return the sum of |p - q|^focus BCE(p, q), a scalar; p and q are sigmoids of the logits.

    Args:
        predicted: N x A x K, logits of p.
        target: N x A x K, logits of q.
        focus: Exponent beta, above 0.
    """
    p, q = predicted.sigmoid(), target.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(predicted, q, reduction="none")
    return ((p - q).abs() ** focus * entropy).sum()


def giou_distances(predicted: DensePredictions, target: DensePredictions) -> Tensor:
    """Return 1 - GIoU of the two boxes at every place, N x A, in [0, 2]."""
    everywhere = torch.arange(predicted.deltas.shape[1], device=predicted.deltas.device)
    found = [
        giou_loss(predicted.boxes(n, everywhere), target.boxes(n, everywhere), reduction="none")
        for n in range(len(predicted.deltas))
    ]
    return torch.stack(found)
