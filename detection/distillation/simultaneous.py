"""Combines several simultaneous teachers, the baseline of progressive distillation (MTPD,
appendices B and E; docs/papers.md 2.7).

With the identity as r() the two definitions have the same gradient:
mean_i |T_i - s|^2 = |mean(T) - s|^2 + the teachers' variance, which does not depend on the student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from detection.distillation.levels import upsampled
from detection.distillation.method import Pair, Sizes
from detection.distillation.taps import TeacherTaps
from searchd.domain.errors import InvalidValueError


class AverageTaps(TeacherTaps):
    """The mean of several teachers' neck features, in the form of one teacher's (appendix E).

    It has no other tap, since nothing else of a detector is averaged.
    """

    def __init__(self, teachers: Sequence[TeacherTaps]) -> None:
        """
        Args:
            teachers: Taps of teachers with necks of equal width, of one student and one batch.
        """
        self._teachers = teachers
        self._student, self.batch = teachers[0]._student, teachers[0].batch

    @cached_property
    def own_neck(self) -> dict[int, Tensor]:
        """The levels that all teachers have, at the size of the first teacher's."""
        necks = [teacher.own_neck for teacher in self._teachers]
        common = set(necks[0]).intersection(*necks)
        return {
            stride: torch.stack([upsampled(neck[stride], necks[0][stride]) for neck in necks]).mean(
                dim=0
            )
            for stride in sorted(common)
        }


def pair_with_average(pair: Pair, teachers: Sequence[Sizes]) -> Pair:
    """Return the pair of a student with the mean of teachers' features.

    Args:
        pair: The pair of the student and the first teacher.
        teachers: Actual sizes of the teachers, and not those of a lineage's widest.

    Raises:
        InvalidValueError: The necks differ in width, or have no level in common.
    """
    widths = [teacher.neck_channels for teacher in teachers]
    if len(set(widths)) > 1:
        raise InvalidValueError(
            f"the teachers' necks have {widths} channels: only features of one width can be "
            "averaged; use mean_of_losses"
        )
    strides = [teacher.strides for teacher in teachers]
    common = set(strides[0]).intersection(*strides)
    if not common:
        raise InvalidValueError(
            f"the teachers' necks have strides {strides}: only levels that all have are averaged; "
            "use mean_of_losses"
        )
    return replace(pair, teacher=replace(pair.teacher, strides=tuple(sorted(common))))


def mean_of_losses(of_teachers: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each loss over the teachers (appendix B), which have the same losses."""
    names = of_teachers[0]
    return {name: torch.stack([losses[name] for losses in of_teachers]).mean() for name in names}
