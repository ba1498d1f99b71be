"""The interface of a distillation method."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from detection.distillation.taps import Tap, Taps


class DistillationLoss(nn.Module, ABC):
    """A loss between a student's and a teacher's taps.

    Its parameters, if any, are adapters: trained with the student, kept apart from it, and absent
    from what is exported.
    """

    needs: ClassVar[frozenset[Tap]]
    """What it reads, of the student and of the teacher."""

    @abstractmethod
    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        """The scalar loss; gradient flows to the student's taps and the adapters. Zero, with a
        graph, when there are no RoIs to compare."""
