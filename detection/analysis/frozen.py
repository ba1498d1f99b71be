"""Losses of a detector that is looked at and not trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase


@contextmanager
def undisturbed(model: nn.Module, seed: int) -> Iterator[None]:
    """Inside, the model computes losses as in training, but nothing of it changes.

    It is in train mode, since some of mmdet's heads make what their losses need only there; its
    normalisation layers are in eval mode, so that batches leave no trace in their statistics. No
    gradient is kept. Random draws (of samplers, dropout) are those of `seed`, and the global
    generators are as before afterwards.
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
