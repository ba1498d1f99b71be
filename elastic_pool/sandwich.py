"""The sandwich rule and in-place distillation (BigNAS): every step trains several subnets.

The largest and the smallest subnet bound what all others can do, so every step trains both, and
some random ones, on the same images. Their losses are averaged, so that a learning rate means what
it means for one subnet. All graphs are held until the backward pass: a step needs the memory of all
its subnets.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detection.data.batches import Batch
from detection.training import Training
from elastic_pool.supernet import Supernet
from searchd.domain.subnet import Subnet


class SandwichTraining(Training):
    """A training whose steps train several subnets of a supernet."""

    def __init__(
        self,
        supernet: Supernet,
        subnets: Callable[[], Sequence[Subnet]],
        *args: Any,
        in_place: Any | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            supernet: The supernet.
            subnets: Returns the subnets of the present step. The first is the largest one, which
                has no teacher.
            args: See `Training`, after the model.
            in_place: The teacher, a static detector with the shape of the largest subnet, if it has
                the supernet's weights of the same step; None if it does not change.
            kwargs: See `Training`.
        """
        self._supernet, self._subnets, self._in_place = supernet, subnets, in_place
        super().__init__(supernet.detector, *args, **kwargs)

    def losses(self, own: Batch, teachers: Batch, *, distils: bool = True) -> dict[str, Tensor]:
        """Compute the mean of the subnets' losses; a loss that a subnet lacks counts as 0."""
        if self._in_place is not None:
            self._in_place.load_state_dict(self._supernet.weights())
        subnets = self._subnets()
        sums: dict[str, Tensor] = {}
        for number, subnet in enumerate(subnets):
            with self._supernet.active(subnet):
                found = super().losses(own, teachers, distils=distils and number > 0)
            for name, loss in found.items():
                sums[name] = sums.get(name, torch.zeros_like(loss)) + loss
        return {name: total / len(subnets) for name, total in sums.items()}


def normalise_by_batch(teacher: nn.Module) -> None:
    """Let a teacher's BN layers use the statistics of each batch, as the subnets do in training.

    The running statistics of a supernet mix those of all its subnets, so they fit none.
    """
    for module in teacher.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
            module.momentum = 0.0  # the running statistics stay as they are
