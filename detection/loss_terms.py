"""Terms of a training's loss that mmdet does not have, and losses as numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def bn_l1(backbone: nn.Module) -> Tensor:
    """Return the sum of |gamma| over the BN layers. Joint-DetNAS section 3.3, docs/papers.md 1.9.

    Its gradient is sign(gamma), and 0 at 0.
    """
    gammas: list[Tensor] = [
        module.weight for module in backbone.modules() if isinstance(module, _BatchNorm)
    ]
    return torch.cat(gammas).abs().sum()


def as_floats(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Convert all losses at once, since each transfer from a GPU waits for the GPU."""
    values = torch.stack([loss.detach() for loss in losses.values()]).tolist()
    return dict(zip(losses, values, strict=True))
