"""What a training says about each iteration: its result, or why it cannot be used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

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


class StepValues:
    """The losses and gradient norms of a step, on their device until they are read.

    Reading them waits for the device; until then it can be asked for further steps.
    """

    def __init__(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """
        Args:
            step: The global step, from 0.
            losses: Scalars by name.
        """
        self.step = step
        self._losses, self._norms = tuple(losses), tuple[str, ...]()
        self._tensor = torch.stack([loss.detach() for loss in losses.values()])
        self._numbers: list[float] = []

    @property
    def losses(self) -> dict[str, float]:
        """The losses by name. The first reading waits for the device."""
        return dict(zip(self._losses, self._read(), strict=False))

    def add_norms(self, norms: Mapping[str, Tensor]) -> None:
        """Add gradient norms, which are checked and are no losses."""
        self._norms = tuple(norms)
        self._tensor = torch.stack([*self._tensor, *norms.values()])
        self._numbers = []

    def are_finite(self) -> Tensor:
        """Return whether all values are finite, a bool on the device."""
        return self._tensor.isfinite().all()

    def check(self) -> None:
        """
        Raises:
            NonFiniteLossError: A loss is not finite, or a gradient norm.
        """
        losses = self.losses
        if not all(map(math.isfinite, losses.values())):
            raise NonFiniteLossError(self.step, losses)
        if not all(map(math.isfinite, self._read())):
            named = zip((*self._losses, *self._norms), self._read(), strict=True)
            raise NonFiniteLossError(self.step, dict(named))

    def _read(self) -> list[float]:
        if not self._numbers:
            read_together([self])
        return self._numbers


def read_together(steps: Sequence[StepValues]) -> None:
    """Read the values of several steps by one copy, since each waits for the device."""
    unread = [each for each in steps if not each._numbers]
    tensors = [each._tensor for each in unread]
    numbers = torch.cat(tensors).tolist() if unread else []
    for each, tensor in zip(unread, tensors, strict=True):
        each._numbers, numbers = numbers[: len(tensor)], numbers[len(tensor) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One finished iteration."""

    epoch: int
    """Number of the epoch, from 1; 0 in the preparation of the distillation methods."""
    iteration: int
    """Number of the iteration inside its epoch, from 1."""
    values: StepValues
    finished_epoch: EpochMetrics | None
    """Metrics of the epoch after its last iteration; None after all others."""

    @property
    def losses(self) -> dict[str, float]:
        """Each loss term, weighted, their sum `loss`, and what methods say beside their losses.
        Reading them waits for the device."""
        return self.values.losses


class EpochLog:
    """Sums up the iterations of a training into the metrics of its epochs.

    Attributes:
        epochs: Metrics of the epochs finished so far.
    """

    def __init__(self, num_iterations: int, read_every: int = 1) -> None:
        """
        Args:
            num_iterations: Number of iterations of one epoch.
            read_every: Number of steps whose losses are read and checked together.
        """
        self._read_every = read_every
        self._unread: list[StepValues] = []
        self.epochs: list[EpochMetrics] = []
        self._num_iterations = num_iterations
        self._sums: dict[str, float] = {}
        self._duration_s = 0.0

    def means(self, done: int) -> dict[str, float]:
        """Return the means of the losses over the iterations of the current epoch that are done;
        empty at its start.

        Raises:
            NonFiniteLossError: A loss that had not been read yet is not finite.
        """
        self._read()
        return {name: total / done for name, total in self._sums.items()}

    def add(self, values: StepValues, *, learning_rate: float, duration_s: float) -> Iteration:
        """Count a finished iteration, and close the epoch after its last one.

        Args:
            values: Its losses.
            learning_rate: Its learning rate.
            duration_s: Its duration in seconds.

        Raises:
            NonFiniteLossError: A loss of this step, or of one that had not been read yet, is not
                finite.
        """
        epoch, iteration = divmod(values.step, self._num_iterations)
        self._unread.append(values)
        self._duration_s += duration_s
        is_last = iteration + 1 == self._num_iterations
        if is_last:
            self._close(epoch + 1, learning_rate)
        elif len(self._unread) >= self._read_every:
            self._read()
        return Iteration(
            epoch=epoch + 1,
            iteration=iteration + 1,
            values=values,
            finished_epoch=self.epochs[-1] if is_last else None,
        )

    def _read(self) -> None:
        """Check and sum up the losses that are still on the device."""
        unread, self._unread = self._unread, []
        read_together(unread)
        for values in unread:
            values.check()
            for name, value in values.losses.items():
                self._sums[name] = self._sums.get(name, 0.0) + value

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
        """Return the state as plain values.

        Raises:
            NonFiniteLossError: A loss that had not been read yet is not finite.
        """
        self._read()
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
