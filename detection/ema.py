"""An exponential moving average (EMA) of a detector's weights, as mmdet's ExpMomentumEMA."""

from collections.abc import Mapping
from typing import Any

from mmdet.models.layers import ExpMomentumEMA
from mmengine.model import ExponentialMovingAverage
from torch import nn

from searchd.spec import EmaSpec


class AveragedWeights:
    """A copy of a detector whose weights and BN statistics follow those of the trained one.

    Attributes:
        model: The copy, in eval mode.
    """

    def __init__(self, model: nn.Module, spec: EmaSpec) -> None:
        """Begin with the weights of `model`."""
        momentum = 1 - spec.decay
        # Buffers are averaged too, as in mmdet's configs: statistics of BN belong to weights.
        self._average: ExponentialMovingAverage = (
            ExpMomentumEMA(model, momentum, gamma=spec.warmup, update_buffers=True)
            if spec.warmup
            else ExponentialMovingAverage(model, momentum, update_buffers=True)
        )
        self.model: Any = self._average.module.eval()

    def update(self, model: nn.Module) -> None:
        """Average in the weights of a training step. Counters are not averaged."""
        self._average.update_parameters(model)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state."""
        return {"steps": int(self._average.steps), "model": self.model.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of another average.

        Raises:
            RuntimeError: A weight's key or shape differs.
        """
        self._average.steps.fill_(state["steps"])
        self.model.load_state_dict(state["model"])
