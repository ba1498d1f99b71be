"""Computes losses of a detector without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def without_side_effects(model: nn.Module, seed: int) -> Iterator[None]:
    """Inside the context, the model computes losses as in training, but does not change.

    It is in train mode, since some of mmdet's heads compute the inputs of their losses only then.
    Its normalisation layers are in eval mode, so that batches do not change their statistics. No
    gradient is kept. Random draws (of samplers and dropout) are seeded by `seed`, and torch's
    global generators have their former state afterwards.
    """
    modes = {module: module.training for module in model.modules()}
    model.train()
    for module in model.modules():
        if isinstance(module, _NormBase):
            module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
