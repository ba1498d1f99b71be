"""Binary classification distillation (BCKD), docs/papers.md 6.4: the student's predictions against
the teacher's at every place, most where their scores differ.

Each class is a question of its own, as in the heads' own losses. Shapes: N images, A anchors or
points of all levels, K classes.
"""

from typing import Self

from torch import Tensor

from detection.distillation.dense_distances import giou_distances, quality_focal_loss
from detection.distillation.dense_predictions import DensePredictions
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import BckdOptions

FOCUS = 1.0
"""Exponent of |p_t - p_s|, the weight of a score."""


class Bckd(DistillationMethod):
    """The loss at all places, per place that is trained to find an object."""

    def __init__(self, options: BckdOptions) -> None:
        super().__init__()
        self._options = options

    @classmethod
    def build(cls, options: BckdOptions, pair: Pair) -> Self:
        del pair
        return cls(options)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        strides = list(student.neck)
        ours = DensePredictions(student.dense_head, *student.dense_outputs, strides)
        theirs = DensePredictions(teacher.dense_head, *teacher.dense_outputs, strides)
        loss = quality_focal_loss(ours.logits, theirs.logits, FOCUS)
        if self._options.boxes:
            apart = score_gaps(ours.logits, theirs.logits) * giou_distances(ours, theirs)
            loss = loss + self._options.boxes * apart.sum()
        count = max(len(student.matched_predictions.image), 1)
        return balanced(loss / count, count)


def score_gaps(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the largest |p_t - p_s| over the classes of each place, N x A, without gradient.

    Args:
        student: N x A x K, class logits.
        teacher: N x A x K, class logits.
    """
    return (teacher.sigmoid() - student.sigmoid()).abs().amax(dim=2).detach()
