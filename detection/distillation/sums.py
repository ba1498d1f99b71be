"""Sums over the cells of feature maps, from which linear maps are fitted by least squares."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor, distributed

from detection.data_parallel import is_distributed
from detection.distillation.compared import Compared
from detection.least_squares import NormalEquations, with_constant

RIDGE = 1e-4
"""Penalty on the weights, as a share of the squared error."""
MOST_CELLS = 16384
"""Largest number of cells that a batch gives at one place; evenly spaced ones, if it has more."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sums:
    """Sums over the cells of one place."""

    equations: NormalEquations
    """Those of the linear map; without inputs, with the constant as only one."""
    squares: Tensor
    """O: squared outputs."""

    @classmethod
    def of(cls, compared: Compared) -> "Sums":
        """Return the sums over a batch."""
        outputs = rows_of(compared.teacher)
        if compared.adapter is None:
            inputs = outputs.new_zeros(len(outputs), 0)
        else:
            inputs = _widened(rows_of(compared.student), compared.adapter.in_channels)
        return cls.between(inputs, outputs)

    @classmethod
    def between(cls, inputs: Tensor, outputs: Tensor) -> "Sums":
        """Return the sums over rows of inputs, n x I, and of outputs, n x O, float64."""
        rows = with_constant(inputs)
        return cls(
            equations=NormalEquations(gram=rows.T @ rows, cross=rows.T @ outputs),
            squares=outputs.square().sum(dim=0),
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            equations=self.equations + other.equations, squares=self.squares + other.squares
        )

    def over_ranks(self) -> "Sums":
        """Return the sums over all data-parallel ranks."""
        if is_distributed():
            for value in (self.equations.gram, self.equations.cross, self.squares):
                distributed.all_reduce(value)
        return self

    @property
    def variance(self) -> float:
        """The variance of an output, averaged over outputs; 0 without samples."""
        n = self.equations.num_samples
        means = self.equations.cross[-1] / max(n, 1)
        return max(float((self.squares / max(n, 1) - means.square()).mean()), 0.0)

    def explained(self, weight: Tensor) -> float:
        """Return the share of the outputs' variance that a linear map explains: (I + 1) x O, with
        the bias as last row."""
        equations, outputs = self.equations, len(self.squares)
        error = (
            self.squares.sum()
            - 2 * (weight * equations.cross).sum()
            + (weight * (equations.gram @ weight)).sum()
        )
        total = self.variance * outputs * equations.num_samples
        return 1 - float(error) / total if total else 0.0


def rows_of(features: Tensor) -> Tensor:
    """N x C x H x W -> n x C, float64; at most MOST_CELLS evenly spaced cells."""
    rows = features.detach().permute(0, 2, 3, 1).flatten(0, 2)
    return rows[:: max(1, ceil(len(rows) / MOST_CELLS))].double()


def _widened(rows: Tensor, channels: int) -> Tensor:
    """Append zeros for the channels that a narrow subnet of an elastic student lacks."""
    return torch.nn.functional.pad(rows, (0, channels - rows.shape[1]))
