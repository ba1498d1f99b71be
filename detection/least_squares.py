"""Solves linear least squares over a stream of samples, in memory independent of their number.

Shapes: n samples, I inputs, O outputs; all sums and solutions are float64.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from searchd.domain.errors import InvalidValueError

_CONSTANT = 1e-7
"""A standard deviation below this share of the mean is treated as rounding of float32."""
_NO_DIRECTION = 1e-12
"""An eigenvalue of the correlation matrix below this share of the largest is treated as rounding of
float32 (1e-6 of the deviation), and the inputs as linearly dependent."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LinearMap:
    """y = x W + b."""

    weight: Tensor
    """I x O."""
    bias: Tensor
    """O."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """n x I -> n x O, both float64."""
        return torch.addmm(self.bias, inputs, self.weight)

    def to(self, device: torch.device | str) -> "LinearMap":
        """Return the map on a device."""
        return LinearMap(weight=self.weight.to(device), bias=self.bias.to(device))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormalEquations:
    """Sums over samples that determine the best linear map, with a constant 1 as last input."""

    gram: Tensor
    """(I + 1) x (I + 1): sum of inputs times inputs."""
    cross: Tensor
    """(I + 1) x O: sum of inputs times outputs."""

    @property
    def num_samples(self) -> int:
        """The number of samples, n."""
        return int(self.gram[-1, -1])

    def __add__(self, other: Self) -> "NormalEquations":
        """Return the sums over the samples of both."""
        return NormalEquations(gram=self.gram + other.gram, cross=self.cross + other.cross)

    def to(self, device: torch.device | str) -> "NormalEquations":
        """Return the sums on a device."""
        return NormalEquations(gram=self.gram.to(device), cross=self.cross.to(device))

    def solve(self, ridge: float = 0.0) -> LinearMap:
        """Return the map with the smallest squared error on the samples.

        If inputs are linearly dependent, several maps are equally good. Then it is the one of least
        norm in units of the inputs' standard deviations.

        Args:
            ridge: Penalty on the squared weights of inputs in units of their standard deviations,
                as a share of the error; at least 0. By default there is no regularisation.

        Raises:
            InvalidValueError: There are no more samples than inputs and bias, so that any outputs
                could be fitted.
        """
        n, num_inputs = self.num_samples, len(self.gram) - 1
        if n <= num_inputs + 1:
            raise InvalidValueError(
                f"{n} samples are too few to fit a linear map with bias of {num_inputs} inputs: "
                f"at least {num_inputs + 2} are needed, and several times as many are advisable"
            )
        mean_in, mean_out = self.gram[-1, :-1] / n, self.cross[-1] / n
        covariance = self.gram[:-1, :-1] / n - torch.outer(mean_in, mean_in)
        with_outputs = self.cross[:-1] / n - torch.outer(mean_in, mean_out)
        deviation = covariance.diagonal().clamp(min=0).sqrt()
        is_constant = deviation <= _CONSTANT * mean_in.abs()
        per_deviation = torch.where(is_constant, 0.0, 1 / deviation)[:, None]
        correlation = covariance * per_deviation * per_deviation.T
        correlation = correlation + ridge * torch.eye(num_inputs).to(correlation)
        inverse = torch.linalg.pinv(correlation, rtol=_NO_DIRECTION, hermitian=True)
        weight = per_deviation * (inverse @ (per_deviation * with_outputs))
        return LinearMap(weight=weight, bias=mean_out - mean_in @ weight)


def with_constant(inputs: Tensor) -> Tensor:
    """n x I -> n x (I + 1): append an input that is always 1, whose weight is the bias."""
    return torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SquaredError:
    """The squared error of predicted outputs, and the outputs' variance, as sums over samples."""

    error: Tensor
    """Scalar: squared errors, summed over samples and outputs."""
    square: Tensor
    """Scalar: squared outputs, summed over samples and outputs."""
    total: Tensor
    """O: outputs, summed over samples."""
    num_samples: int

    @classmethod
    def of(cls, predicted: Tensor, outputs: Tensor) -> Self:
        """Return the sums over a batch; both arguments are n x O, float64."""
        return cls(
            error=(predicted - outputs).square().sum(),
            square=outputs.square().sum(),
            total=outputs.sum(dim=0),
            num_samples=len(outputs),
        )

    def __add__(self, other: Self) -> "SquaredError":
        """Return the sums over the samples of both."""
        return SquaredError(
            error=self.error + other.error,
            square=self.square + other.square,
            total=self.total + other.total,
            num_samples=self.num_samples + other.num_samples,
        )

    def to(self, device: torch.device | str) -> "SquaredError":
        """Return the sums on a device."""
        return SquaredError(
            error=self.error.to(device),
            square=self.square.to(device),
            total=self.total.to(device),
            num_samples=self.num_samples,
        )

    @property
    def mean(self) -> float:
        """The squared error, averaged over samples and outputs."""
        return float(self.error) / (self.num_samples * len(self.total))

    @property
    def variance(self) -> float:
        """The variance of an output, averaged over outputs."""
        about_zero = float(self.square) / self.num_samples
        means = float((self.total / self.num_samples).square().sum())
        return max(about_zero - means, 0.0) / len(self.total)
