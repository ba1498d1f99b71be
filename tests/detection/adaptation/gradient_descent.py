"""Learns r of the adaptation cost by gradient descent, as the paper does (MTPD 3.2).

In many passes it approaches the optimum that `detection.adaptation.cost.solve` computes.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.optim.lr_scheduler import ReduceLROnPlateau

from detection.adaptation.neck_levels import Level, Pair, PerLevel, each_level, shared_levels
from detection.data.views import Views
from detection.least_squares import LinearMap
from searchd.domain.errors import InvalidValueError

_DECAY = 0.3
"""Factor of the learning rate on a plateau."""
_DECAYS = 6
"""Number of decays until learning ends: the last learning rate is a thousandth of the first."""


def fit_by_descent(
    models: Mapping[str, nn.Module],
    batches: Iterable[Views],
    pairs: Sequence[Pair] | None = None,
    *,
    learning_rate: float = 1e-2,
    patience: int = 3,
    max_epochs: int = 100,
    device: torch.device | str = "cpu",
) -> PerLevel[LinearMap]:
    """Learn r of every pair, on the CPU, for `detection.adaptation.cost.measure`.

    Each level of each pair is learned separately by Adam. The learning rate decays when the
    training loss is on a plateau, and r is finished after six decays. Every pass runs the detectors
    again. Random initial weights come from torch's global generator.

    Args:
        models: mmdet detectors by name, on `device`. Their modes are the same afterwards.
        batches: Images to fit r; iterated once per epoch, as `detection.data.views.FixedViews`
            can be.
        pairs: The wanted maps; by default those between all two different models.
        learning_rate: Initial learning rate.
        patience: Epochs without a relative gain of at least 1e-4 that make a plateau.
        max_epochs: Largest number of epochs.
        device: Device of the models.

    Raises:
        InvalidValueError: A pair names an unknown model, the necks of a pair have no level in
            common, or an epoch has no image.
    """
    levels = shared_levels(models, pairs)
    learners: PerLevel[_Learner] = {pair: {} for pair in levels}
    for _ in range(max_epochs):
        is_empty = True
        for level in each_level(models, levels, batches, device):
            is_empty = False
            for pair in level.pairs:
                known = learners[pair]
                if level.stride not in known:
                    known[level.stride] = _Learner(level, pair, learning_rate, patience)
                known[level.stride].step(level, pair)
        if is_empty:
            raise InvalidValueError(
                "an epoch has no image to fit the adaptation costs to: give batches that can be "
                "iterated repeatedly"
            )
        all_learners = [learner for of_pair in learners.values() for learner in of_pair.values()]
        for learner in all_learners:
            learner.end_epoch()
        if all(learner.finished for learner in all_learners):
            break
    return {
        pair: {stride: learner.map() for stride, learner in of_pair.items()}
        for pair, of_pair in learners.items()
    }


class _Learner:
    """Learns r of one level of a pair."""

    def __init__(self, level: Level, pair: Pair, learning_rate: float, patience: int) -> None:
        inputs, outputs = level.inputs(pair), level.outputs(pair)
        self._linear = nn.Linear(
            inputs.shape[1] - 1, outputs.shape[1], dtype=inputs.dtype, device=inputs.device
        )
        self._optimizer = Adam(self._linear.parameters(), lr=learning_rate)
        self._schedule = ReduceLROnPlateau(self._optimizer, factor=_DECAY, patience=patience)
        self._last_rate = learning_rate * _DECAY**_DECAYS
        self._losses: list[Tensor] = []

    @property
    def finished(self) -> bool:
        return self._optimizer.param_groups[0]["lr"] <= self._last_rate * 1.001

    def step(self, level: Level, pair: Pair) -> None:
        loss = functional.mse_loss(self._linear(level.inputs(pair)[:, :-1]), level.outputs(pair))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._losses.append(loss.detach())

    def end_epoch(self) -> None:
        """Advance the learning rate schedule."""
        self._schedule.step(float(torch.stack(self._losses).mean()))
        self._losses.clear()

    def map(self) -> LinearMap:
        """Return r on the CPU."""
        return LinearMap(
            weight=self._linear.weight.detach().T.cpu(), bias=self._linear.bias.detach().cpu()
        )
