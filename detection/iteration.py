"""What a training says about each iteration: its result, or why it cannot be used."""

from collections.abc import Mapping
from dataclasses import dataclass

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
