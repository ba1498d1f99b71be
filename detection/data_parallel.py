"""Training by several data-parallel processes (ranks)."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

Losses = dict[str, Tensor]

_groups: list[distributed.ProcessGroup] = []
"""The groups that DDP has used, kept until the process ends. The last owner of a group waits for
its threads; if that were DDP, it would hold the lock of Python (GIL), which they may need to end
(torch 2.13, gloo)."""


def is_distributed() -> bool:
    """Return whether this process belongs to a torch.distributed group."""
    return distributed.is_available() and distributed.is_initialized()


class AveragedGradients:
    """Averages gradients over all ranks while they are computed (DistributedDataParallel, DDP).

    DDP wants to call a module, and a step reads detectors, teachers and methods in its own order.
    So it is given the parameters with a module that calls what computes the losses. A parameter
    that a step does not use on any rank stays without gradient; one that it uses on some ranks has
    a gradient of zero on the others.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], world_size: int) -> None:
        """Give all ranks the weights of the first one.

        Args:
            parameters: The trained parameters, in the same order on all ranks.
            world_size: Number of ranks. With 1, gradients are left as they are.
        """
        step = _Step(parameters)
        self._step: nn.Module = step
        if world_size > 1:
            assert distributed.group.WORLD is not None
            _groups.append(distributed.group.WORLD)
            self._step = DistributedDataParallel(
                step, find_unused_parameters=True, gradient_as_bucket_view=True
            )

    def losses(self, compute: Callable[[], Losses]) -> Losses:
        """Compute losses, of whose gradients the next backward pass computes the means.

        Args:
            compute: Computes the losses of a step, by name. Every rank must call it, and then do
                one backward pass, however many forward passes of the detector it does.
        """
        losses: Losses = self._step(compute)
        return losses


class _Step(nn.Module):
    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)

    def forward(self, compute: Callable[[], Any]) -> Any:
        return compute()
