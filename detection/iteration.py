"""What a training says about each iteration: its result, or why it cannot be used."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from searchd.domain.errors import SearchdError
from searchd.messages.reports import EpochMetrics


class NonFiniteLossError(SearchdError):
    """A loss or a gradient is not finite. The weights were not changed by it."""

    def __init__(self, step: int, losses: Mapping[str, float]) -> None:
        """
        Args:
            step: The global step, from 0.
            losses: Every loss of that step, and gradient norms if one of them is not finite.
        """
        super().__init__(step, losses)
        self.step = step
        self.losses = dict(losses)

    def __str__(self) -> str:
        found = ", ".join(f"{name}={value:g}" for name, value in self.losses.items())
        return f"step {self.step} has a loss that is not finite: {found}; try a lower learning rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One finished iteration."""

    epoch: int
    """Number of the epoch, from 1; 0 in the preparation of the distillation methods."""
    iteration: int
    """Number of the iteration inside its epoch, from 1."""
    losses: dict[str, float]
    """Each loss term, weighted, and their sum `loss`."""
    finished_epoch: EpochMetrics | None
    """Metrics of the epoch after its last iteration; None after all others."""


class EpochLog:
    """Sums up the iterations of a training into the metrics of its epochs.

    Attributes:
        epochs: Metrics of the epochs finished so far.
    """

    def __init__(self, num_iterations: int) -> None:
        """
        Args:
            num_iterations: Number of iterations of one epoch.
        """
        self.epochs: list[EpochMetrics] = []
        self._num_iterations = num_iterations
        self._sums: dict[str, float] = {}
        self._duration_s = 0.0

    def means(self, done: int) -> dict[str, float]:
        """Return the means of the losses over the iterations of the current epoch that are done;
        empty at its start."""
        return {name: total / done for name, total in self._sums.items()}

    def add(
        self, step: int, losses: dict[str, float], *, learning_rate: float, duration_s: float
    ) -> Iteration:
        """Count a finished iteration, and close the epoch after its last one.

        Args:
            step: The global step, from 0.
            losses: Its losses.
            learning_rate: Its learning rate.
            duration_s: Its duration in seconds.
        """
        epoch, iteration = divmod(step, self._num_iterations)
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._duration_s += duration_s
        is_last = iteration + 1 == self._num_iterations
        if is_last:
            self._close(epoch + 1, learning_rate)
        return Iteration(
            epoch=epoch + 1,
            iteration=iteration + 1,
            losses=losses,
            finished_epoch=self.epochs[-1] if is_last else None,
        )

    def _close(self, epoch: int, learning_rate: float) -> None:
        metrics = EpochMetrics(
            epoch=epoch,
            losses=self.means(self._num_iterations),
            learning_rate=learning_rate,
            duration_s=self._duration_s,
        )
        self.epochs.append(metrics)
        self._sums, self._duration_s = {}, 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "loss_sums": dict(self._sums),
            "epoch_s": self._duration_s,
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state."""
        self._sums = dict(state["loss_sums"])
        self._duration_s = state["epoch_s"]
        self.epochs = [EpochMetrics(**epoch) for epoch in state["epochs"]]
