"""Distils neck features level by level. MTPD section 3.1, docs/papers.md 2.2.

L_distill = || F_T - r(F_S) ||^2 for each stride that both necks have. If the teacher
sees the images at another size, features are compared on the teacher's grid: r() also resamples the
student's map (section 4.3, docs/papers.md 2.8).
"""

from collections.abc import Iterable
from typing import Literal, Self

import torch
from torch import Tensor

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared, TeacherVariance, in_deviations
from detection.distillation.levels import LevelAdapters
from detection.distillation.method import DistillationMethod, Pair
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.distillation_methods import FeatureMatchingOptions

Reduction = Literal["mean", "sum"]


class FeatureMatching(DistillationMethod):
    """The loss, with r() of each level."""

    def __init__(
        self, pair: Pair, reduction: Reduction = "mean", *, by_variance: bool = False
    ) -> None:
        """
        Args:
            pair: The pair whose necks are matched.
            reduction: See `feature_matching_loss`.
            by_variance: Whether each level is divided by the teacher's variance.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.adapters = LevelAdapters(pair)
        self._reduction: Reduction = reduction
        self.variance = TeacherVariance(len(self.adapters.strides)) if by_variance else None

    @classmethod
    def build(cls, options: FeatureMatchingOptions, pair: Pair) -> Self:
        by_variance = options.normalise == "teacher_variance"
        return cls(pair, options.reduction, by_variance=by_variance)

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return self.adapters.linear

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return self.adapters.compared(student, teacher, on_teachers_grid=True)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        levels = self.adapters.on_teachers_grid(student, teacher)
        return feature_matching_loss(in_deviations(levels.values(), self.variance), self._reduction)


def feature_matching_loss(
    levels: Iterable[tuple[Tensor, Tensor]], reduction: Reduction = "mean"
) -> Tensor:
    """Squared difference of neck features.

    Args:
        levels: For each level the adapted student's and the teacher's features, N x C x H x W.
        reduction: "mean" over a level's elements and then over levels, as the paper's lambdas
            require; "sum" over all elements of all levels.
    """
    squared = [(adapted - target).square() for adapted, target in levels]
    if reduction == "sum":
        return torch.stack([level.sum() for level in squared]).sum()
    return torch.stack([level.mean() for level in squared]).mean()
