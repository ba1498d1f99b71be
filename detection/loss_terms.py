"""Terms of a training's loss that mmdet does not have, and comparison of losses."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from searchd.domain.errors import InvalidValueError


def bn_l1(backbone: nn.Module) -> Tensor:
    """Return the sum of |gamma| over the BN layers. Joint-DetNAS section 3.3, docs/papers.md 1.9.

    Its gradient is sign(gamma), and 0 at 0.

    Raises:
        InvalidValueError: The backbone has no BN layers.
    """
    gammas: list[Tensor] = [
        module.weight for module in backbone.modules() if isinstance(module, _BatchNorm)
    ]
    if not gammas:
        raise InvalidValueError(
            f"training.bn_l1 needs a backbone with BN layers, and {type(backbone).__name__} has "
            "none; set bn_l1 to 0"
        )
    return torch.cat(gammas).abs().sum()


def largest_difference(losses: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Return the largest relative difference between losses and those that are expected."""
    return max(
        abs(float(losses[name]) - float(value)) / max(abs(float(value)), 1e-12)
        for name, value in expected.items()
    )
