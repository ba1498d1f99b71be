"""Training by several data-parallel processes (ranks)."""

from collections.abc import Iterable

import torch
from torch import distributed, nn


def is_distributed() -> bool:
    """Return whether this process belongs to a torch.distributed group."""
    return distributed.is_available() and distributed.is_initialized()


def average_gradients(parameters: Iterable[nn.Parameter], world_size: int) -> None:
    """Replace gradients by their means over all ranks, in one all-reduce.

    Parameters without a gradient stay without one; they must be the same on all ranks.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
