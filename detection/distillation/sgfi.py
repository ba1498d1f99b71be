"""Semantic-guided feature imitation (SGFI). G-DetKD section 4.1, docs/papers.md 3.1.

The student's feature that imitates a region of the teacher is a mixture of the student's levels,
since the same level has different semantics in different detectors, which may even be of different
families. The mixture is weighted by similarity, for each region.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared, TeacherVariance, in_deviations
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.distillation_methods import SgfiOptions

KEY_CHANNELS = (128, 64)
"""Outputs of f_embed's two convolutions (docs/papers.md 3.1)."""


class Sgfi(DistillationMethod):
    """The loss L_feat, with f_adapt, f_embed and the temperature.

    Attributes:
        adapter: f_adapt, one convolution for all levels, from student to teacher channels.
        embedding: f_embed, for both sides.
        log_temperature: log tau, which is learned, so that tau stays positive.
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        *,
        adapter_kernel: int = 1,
        initial_temperature: float = 1.0,
        by_variance: bool = False,
    ) -> None:
        """
        Args:
            student_channels: Channels of the student's region features; the most if it is elastic.
            teacher_channels: Channels of the region features of the widest teacher.
            adapter_kernel: Kernel size of f_adapt; odd.
            initial_temperature: Initial value of tau, > 0.
            by_variance: Whether the loss is divided by the teacher's variance.
        """
        super().__init__()
        self.adapter = ChannelAdapter(student_channels, teacher_channels, adapter_kernel)
        self.embedding = KeyEmbedding(teacher_channels)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial_temperature)))
        self.variance = TeacherVariance(1) if by_variance else None

    @classmethod
    def build(cls, options: SgfiOptions, pair: Pair) -> Self:
        return cls(
            pair.student.region_channels,
            pair.teacher.region_channels,
            adapter_kernel=options.adapter_kernel,
            initial_temperature=options.initial_temperature,
            by_variance=options.normalise == "teacher_variance",
        )

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return (self.adapter,)

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        """Return the mean of the levels, which is the mixture that f_embed starts near."""
        return {
            "in the regions": Compared(
                student=student.region_levels.mean(dim=0),
                teacher=teacher.region_features,
                adapter=self.adapter,
            )
        }

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        target = teacher.region_features
        adapted = self.adapted(student.region_levels, target.shape[1])
        weights = self.level_weights(adapted, target)
        ((adapted, target),) = in_deviations([(adapted, target)], self.variance)
        loss = sgfi_loss(adapted, target, weights)
        return balanced(loss, len(target))

    def adapted(self, levels: Tensor, out_channels: int) -> Tensor:
        """Apply f_adapt to every level: L x P x C x 7 x 7 -> L x P x out_channels x 7 x 7."""
        every = self.adapter(levels.flatten(0, 1), out_channels)
        return every.unflatten(0, levels.shape[:2])

    def level_weights(self, adapted: Tensor, target: Tensor) -> Tensor:
        """Return alpha, which sums to 1 over the levels; L x P.

        Args:
            adapted: L x P x C x 7 x 7, the student's adapted features.
            target: P x C x 7 x 7, the teacher's features.
        """
        keys = self.embedding(adapted.flatten(0, 1)).unflatten(0, adapted.shape[:2])
        similarity = (keys * self.embedding(target)).sum(dim=2)  # L x P
        return (similarity / self.log_temperature.exp()).softmax(dim=0)


class KeyEmbedding(nn.Module):
    """f_embed: two 3x3 convolutions of stride 2 without padding, each followed by ReLU, which map
    7 x 7 cells to 3 x 3 and to one vector. Narrower teachers use the leading inputs."""

    def __init__(self, channels: int) -> None:
        """
        Args:
            channels: Channels of the widest input.
        """
        super().__init__()
        self.first = nn.Conv2d(channels, KEY_CHANNELS[0], 3, stride=2)
        self.second = nn.Conv2d(*KEY_CHANNELS, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """P x C x 7 x 7 -> P x 64."""
        weight = self.first.weight[:, : x.shape[1]]
        hidden = functional.relu(functional.conv2d(x, weight, self.first.bias, stride=2))
        return functional.relu(self.second(hidden)).flatten(1)


def sgfi_loss(adapted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """L_feat = mean over regions of MSE(sum_l alpha^l f_adapt(S^l), T).

    Args:
        adapted: L x P x C x h x w, the student's levels after f_adapt.
        target: P x C x h x w, the teacher's features.
        weights: L x P, alpha.
    """
    aggregated = torch.einsum("lp,lpchw->pchw", weights, adapted)
    squared = (aggregated - target).square()
    return squared.sum() / max(squared.numel(), 1)
