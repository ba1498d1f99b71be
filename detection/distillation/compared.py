"""What a method compares before its adapters, and the variance of the teacher's side of it."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection.distillation.adapters import ChannelAdapter

VARIANCE = "variance.values"
"""End of the name of a method's variances among its buffers."""
_CONSTANT = 1e-12
"""A variance below this is rounding, and no unit."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """Features that a method compares, at the same places of student and teacher."""

    student: Tensor
    """N x I x H x W, before the adapter."""
    teacher: Tensor
    """N x O x H x W."""
    adapter: ChannelAdapter | None
    """The linear map from student to teacher; None if they are compared as they are."""


class TeacherVariance(nn.Module):
    """The variance of the teacher's features at each place that a method compares, which is the
    unit of a loss with `normalise: teacher_variance`.

    It is measured at the start of every training, under the teacher of that training, and 1 before.
    It is part of the state of a resumed training and not of the adapters that children inherit.
    """

    def __init__(self, places: int) -> None:
        """
        Args:
            places: Number of places, for example levels.
        """
        super().__init__()
        self.values: Tensor
        self.register_buffer("values", torch.ones(places), persistent=False)

    def set(self, place: int, variance: float) -> None:
        """Set the variance of a place. That of constant features is no unit, and 1 is used."""
        self.values[place] = variance if variance > _CONSTANT else 1.0

    def deviation(self, place: int) -> Tensor:
        """Return the standard deviation at a place, a scalar."""
        return self.values[place].sqrt()


def in_deviations(
    pairs: Iterable[tuple[Tensor, Tensor]], variance: TeacherVariance | None
) -> list[tuple[Tensor, Tensor]]:
    """Return features of student and teacher at each place, in units of the teacher's standard
    deviation there; unchanged if no variance is given."""
    if variance is None:
        return list(pairs)
    deviations = [(pair, variance.deviation(place)) for place, pair in enumerate(pairs)]
    return [(ours / unit, theirs / unit) for (ours, theirs), unit in deviations]
