"""Pearson correlation distillation (PKD), docs/papers.md 6.1: makes each channel of the student's
neck correlate with the teacher's, whatever the mean and the scale of either.

The loss is summed over all levels that both necks have. Positions are the teacher's cells, also if
it sees the images at another size.
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.levels import LevelAdapters
from detection.distillation.method import DistillationMethod, Pair
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_description import AdapterOptions


class Pkd(DistillationMethod):
    """The loss, with a 1x1 convolution for each level if the necks' widths differ."""

    def __init__(self, pair: Pair) -> None:
        """
        Args:
            pair: The pair whose necks are compared.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.adapters = LevelAdapters(pair)

    @classmethod
    def build(cls, options: AdapterOptions, pair: Pair) -> Self:  # noqa: ARG003 # of its start
        return cls(pair)

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return self.adapters.linear

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return self.adapters.compared(student, teacher, on_teachers_grid=True)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        levels = self.adapters.on_teachers_grid(student, teacher).values()
        return torch.stack([pkd_loss(adapted, target) for adapted, target in levels]).sum()


def pkd_loss(adapted: Tensor, target: Tensor) -> Tensor:
    """L = 1/2 mean((s - t)^2) of both features, each channel with mean 0 and variance 1 over the
    images and positions of the batch. For channels that vary it is 1 minus the mean Pearson
    correlation.

    Args:
        adapted: N x C x H x W, the student's features after the adapter.
        target: N x C x H x W, the teacher's features.
    """
    return functional.mse_loss(standardised(adapted), standardised(target)) / 2


def standardised(features: Tensor) -> Tensor:
    """Return features, N x C x H x W, with mean 0 and variance 1 in each channel; a channel that
    does not vary becomes 0."""
    variance, mean = torch.var_mean(features, dim=(0, 2, 3), correction=0, keepdim=True)
    return (features - mean) / (variance.sqrt() + 1e-6)
