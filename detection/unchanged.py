"""Runs a detector in train mode without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from detection.distillation.distiller import Distiller


@contextmanager
def unchanged(model: nn.Module, distiller: Distiller | None = None) -> Iterator[None]:
    """Restore a detector's and its methods' state after the context, and drop gradients.

    Forward passes in train mode change buffers: BN's statistics, and the memories of methods.
    """
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    state = distiller.resume_state() if distiller else {}
    state = {name: value.clone() for name, value in state.items()}
    try:
        yield
    finally:
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
        model.zero_grad()
        if distiller:
            distiller.load_resume_state(state)
            for parameter in distiller.parameters():
                parameter.grad = None
