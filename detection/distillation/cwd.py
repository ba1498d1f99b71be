"""Channel-wise distillation (CWD), docs/papers.md 6: distils each channel's distribution over
positions.

The loss is summed over all levels that both necks have, as in MMRazor. Positions are the teacher's
cells, also if it sees the images at another size.
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
from searchd.domain.distillation_methods import CwdOptions


class Cwd(DistillationMethod):
    """The loss, with a 1x1 convolution for each level if the necks' widths differ."""

    def __init__(self, pair: Pair, temperature: float = 1.0) -> None:
        """
        Args:
            pair: The pair whose necks are compared.
            temperature: The temperature tau, > 0.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.adapters = LevelAdapters(pair)
        self._temperature = temperature

    @classmethod
    def build(cls, options: CwdOptions, pair: Pair) -> Self:
        return cls(pair, options.temperature)

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return self.adapters.linear

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return self.adapters.compared(student, teacher, on_teachers_grid=True)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        levels = self.adapters.on_teachers_grid(student, teacher).values()
        losses = [cwd_loss(adapted, target, self._temperature) for adapted, target in levels]
        return torch.stack(losses).sum()


def cwd_loss(adapted: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """L = tau^2 / (N C) * sum over images and channels of KL(teacher || student), both softmaxes
    over the positions of a channel at temperature tau.

    Unlike the authors' later code it includes the teacher's entropy, a constant, so that equal maps
    give 0.

    Args:
        adapted: N x C x H x W, the student's features after the adapter.
        target: N x C x H x W, the teacher's features.
        temperature: The temperature tau, > 0.
    """
    divergence = functional.kl_div(
        functional.log_softmax(adapted.flatten(2) / temperature, dim=2),
        functional.log_softmax(target.flatten(2) / temperature, dim=2),
        reduction="sum",
        log_target=True,
    )
    num_images, num_channels = target.shape[:2]
    return temperature**2 / (num_images * num_channels) * divergence
