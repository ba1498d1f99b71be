"""Reads and compares distributions over the distances of boxes' sides, as GFL predicts them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def side_divergences(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(p_t || p_s) of each place, the mean over the four sides of its box.

    Args:
        student: ... x 4 x (D + 1), logits over 0 to D strides.
        teacher: The same of the teacher.
        temperature: T of both softmaxes, above 0.

    Returns:
        The shape of the places: `...`.
    """
    ours, theirs = (functional.log_softmax(x / temperature, dim=-1) for x in (student, teacher))
    kl = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=-1)
    return temperature**2 * kl.mean(dim=-1)


def by_side(levels: Sequence[Tensor]) -> Tensor:
    """Return what a head predicts for each side of one box in each cell.

    Args:
        levels: N x 4*(D + 1) x H x W each.

    Returns:
        N x A x 4 x (D + 1), cells by level, row and column.
    """
    rows = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels]
    return torch.cat(rows, dim=1).unflatten(2, (4, -1))
