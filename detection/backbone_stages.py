"""The stages of a detector's backbone, by the names of its parameters.

Works for the searchable backbone and for mmdet's: stages are named layer1, layer2, ... or stages.0,
stages.1, ... What comes before the first stage is the stem (stage 0), what comes after the last one
belongs to it.
"""

import re

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from searchd.domain.errors import InvalidValueError

_FROM_ONE = re.compile(r"^layer(\d+)\.")
_FROM_ZERO = re.compile(r"^(?:stages\.|downsample_layers\.|norm)(\d+)\.")
"""In mmdet's Swin and ConvNeXt, norm0 normalises the output of stages.0."""


def parameter_stages(backbone: nn.Module) -> dict[str, int]:
    """Return the stage of every parameter of a backbone by its name: 0 for the stem.

    Raises:
        InvalidValueError: The names of the parameters show no stages.
    """
    found: dict[str, int] = {}
    last = 0
    for name, _ in backbone.named_parameters():
        found[name] = named_stage(name) or last
        last = max(last, found[name])
    if not last:
        raise InvalidValueError(
            f"the stages of a {type(backbone).__name__} are not known; leave out layer_decay and "
            "frozen_stages"
        )
    return found


def named_stage(name: str) -> int | None:
    """Return the stage, from 1, that a dotted name begins with; None if it names no stage."""
    if found := _FROM_ONE.match(name):
        return int(found[1])
    if found := _FROM_ZERO.match(name):
        return int(found[1]) + 1
    return None


def freeze(backbone: nn.Module, num_frozen: int) -> tuple[nn.Module, ...]:
    """Freeze the stem and the first stages, as mmdet's `frozen_stages` does.

    Their parameters no longer require gradients.

    Args:
        backbone: The backbone.
        num_frozen: Number of stages to freeze; with 0, the stem is not frozen either.

    Returns:
        The frozen modules, which must stay in eval mode.

    Raises:
        InvalidValueError: The names of the parameters show no stages.
    """
    if not num_frozen:
        return ()
    frozen = {name for name, stage in parameter_stages(backbone).items() if stage <= num_frozen}
    for name, parameter in backbone.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return tuple(
        module
        for path, module in backbone.named_modules()
        if (named_stage(f"{path}.") or num_frozen + 1) <= num_frozen or f"{path}.weight" in frozen
    )


def batch_norms(backbone: nn.Module) -> tuple[nn.Module, ...]:
    """Return the BN layers of a backbone."""
    return tuple(module for module in backbone.modules() if isinstance(module, _BatchNorm))
