"""Several teachers at once: the baseline of progressive distillation (MTPD, appendices B and E).

papers.md 2.7 and decision B3. With the identity as r() the two definitions have the same gradient:
mean_i |T_i - s|^2 = |mean(T) - s|^2 + the teachers' variance, in which there is no student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from detection.distillation.feature_matching import feature_matching_loss
from detection.distillation.levels import LevelAdapters, upsampled
from detection.distillation.method import Pair
from searchd.domain.errors import InvalidValueError

Neck = Mapping[int, Tensor]
"""Each level's features, N x C x H x W, by its stride."""
Definition = Literal["mean_of_losses", "average_features"]
"""The mean of the teachers' losses, each with adapters of its own (appendix B), or one loss against
the mean of their features (appendix E)."""


class SimultaneousMatching(nn.Module):
    """Feature matching with several teachers in the same step."""

    def __init__(self, pairs: Sequence[Pair], definition: Definition = "mean_of_losses") -> None:
        """
        Args:
            pairs: Of the one student with each teacher; at least one.
            definition: See `Definition`.

        Raises:
            InvalidValueError: A teacher's neck has no level in common with the student's; or
                features are to be averaged that differ in width or have no level in common.
        """
        super().__init__()
        self._definition = definition
        if definition == "average_features":
            pairs = [_pair_with_average(pairs)]
        self.adapters = nn.ModuleList(LevelAdapters(pair) for pair in pairs)

    def forward(self, student: Neck, teachers: Sequence[Neck]) -> Tensor:
        """The scalar loss.

        Args:
            student: Gradient flows to it.
            teachers: In the order of the pairs.
        """
        if self._definition == "average_features":
            teachers = [_average(teachers)]
        losses = [
            feature_matching_loss(adapters(student, teacher).values())
            for adapters, teacher in zip(self.adapters, teachers, strict=True)
        ]
        return torch.stack(losses).mean()


def _pair_with_average(pairs: Sequence[Pair]) -> Pair:
    """The student with the mean of all teachers' features."""
    widths = [pair.teacher.neck_channels for pair in pairs]
    if len(set(widths)) > 1:
        raise InvalidValueError(
            f"the teachers' necks have {widths} channels: only features of one width can be "
            "averaged; use the mean of losses"
        )
    strides = [pair.teacher.strides for pair in pairs]
    common = set(strides[0]).intersection(*strides)
    if not common:
        raise InvalidValueError(
            f"the teachers' necks have strides {strides}: only levels that all have are averaged; "
            "use the mean of losses"
        )
    return replace(pairs[0], teacher=replace(pairs[0].teacher, strides=tuple(sorted(common))))


def _average(teachers: Sequence[Neck]) -> dict[int, Tensor]:
    """The levels that all teachers have, at the size of the first one's."""
    common = set(teachers[0]).intersection(*teachers)
    return {
        stride: torch.stack(
            [upsampled(teacher[stride], teachers[0][stride]) for teacher in teachers]
        ).mean(dim=0)
        for stride in sorted(common)
    }
