"""Masked generative distillation (MGD), docs/papers.md 6: a generator restores the teacher's
features from the student's, of which a random part is masked.

Every level that both necks have has its own generator, and the loss is summed over levels.
Positions are the teacher's cells, also if it sees the images at another size: align(), which then
resamples the student's map, comes before the mask. The loss is summed over positions, so it is
larger for a teacher with larger images.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.levels import LevelAdapters
from detection.distillation.method import DistillationMethod, Pair
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.distillation_methods import MgdOptions

ONE_STAGE_SCALE, TWO_STAGE_SCALE = 2e-5, 5e-7
"""Published weights alpha of the loss."""
ONE_STAGE_MASKED, TWO_STAGE_MASKED = 0.65, 0.45
"""Published probabilities lambda that a position is masked."""


class Generator(nn.Module):
    """G: a 3x3 convolution, ReLU, a 3x3 convolution. Narrower teachers use leading channels."""

    def __init__(self, channels: int) -> None:
        """
        Args:
            channels: Channels of the widest teacher.
        """
        super().__init__()
        self.conv1 = ChannelAdapter(channels, channels, 3)
        self.conv2 = ChannelAdapter(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """N x C x H x W -> the same shape."""
        generated: Tensor = self.conv2(functional.relu(self.conv1(x)), x.shape[1])
        return generated


class Mgd(DistillationMethod):
    """The loss, with G of each level, and a 1x1 convolution for each level if the necks' widths
    differ."""

    def __init__(self, pair: Pair, *, scale: float, masked_fraction: float) -> None:
        """
        Args:
            pair: The pair whose necks are compared.
            scale: Weight of the loss, alpha.
            masked_fraction: Probability that a position is masked, lambda, in [0, 1].

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.adapters = LevelAdapters(pair)
        self.generators = nn.ModuleDict(
            {str(stride): Generator(pair.teacher.neck_channels) for stride in self.adapters.strides}
        )
        self._scale, self._masked_fraction = scale, masked_fraction

    @classmethod
    def build(cls, options: MgdOptions, pair: Pair) -> Self:
        two_stage = pair.student.two_stage
        scale = TWO_STAGE_SCALE if two_stage else ONE_STAGE_SCALE
        masked = TWO_STAGE_MASKED if two_stage else ONE_STAGE_MASKED
        return cls(
            pair,
            scale=scale if options.scale is None else options.scale,
            masked_fraction=masked if options.masked_fraction is None else options.masked_fraction,
        )

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return self.adapters.linear

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return self.adapters.compared(student, teacher, on_teachers_grid=True)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        levels = self.adapters.on_teachers_grid(student, teacher)
        losses = []
        for stride, (adapted, target) in levels.items():
            mask = random_mask(adapted, self._masked_fraction)
            losses.append(mgd_loss(self.generators[str(stride)](adapted * mask), target))
        return self._scale * torch.stack(losses).sum()


def random_mask(features: Tensor, masked_fraction: float) -> Tensor:
    """Draw a mask, N x 1 x H x W: 0 with probability `masked_fraction`, else 1.

    Draws come from torch's global generator.

    Args:
        features: N x C x H x W.
        masked_fraction: Probability of a 0, in [0, 1].
    """
    return (torch.rand_like(features[:, :1]) >= masked_fraction).to(features.dtype)


def mgd_loss(generated: Tensor, target: Tensor) -> Tensor:
    """1/N * sum of (F_t - G(align(F_s) * M))^2; all N x C x H x W."""
    return (generated - target).square().sum() / len(target)
