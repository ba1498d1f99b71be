"""Distils the box deltas of the object's class, the baseline of class-aware localisation. G-DetKD
section 4.3.1, docs/papers.md 3.3."""

from torch import Tensor

from detection.distillation.method import MethodWithoutOptions, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps


class Localisation(MethodWithoutOptions):
    """The loss on positive regions. Other regions have no object whose class selects the deltas."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        positive = student.regions.is_positive
        labels = student.regions.labels[positive]
        count = len(positive)
        loss = localisation_loss(
            student.box_deltas[positive], teacher.box_deltas[positive], labels, num_regions=count
        )
        return balanced(loss, count)


def localisation_loss(
    student_deltas: Tensor, teacher_deltas: Tensor, labels: Tensor, *, num_regions: int
) -> Tensor:
    """1/N * sum over positives i of | reg_t^{i,c} - reg_s^{i,c} |, where c is the class of i's
    object.

    |.| is summed over the 4 deltas. N counts all regions, as in the class-aware loss with which
    this loss is compared; a mean over the positives would be about four times as large.

    Args:
        student_deltas: P x 4K of the P positives, class by class.
        teacher_deltas: P x 4K.
        labels: P, long, in 0..K-1.
        num_regions: Number of all regions, N.
    """
    difference = (teacher_deltas - student_deltas).unflatten(1, (-1, 4))  # P x K x 4
    index = labels[:, None, None].expand(-1, 1, 4)
    return difference.gather(1, index).abs().sum() / max(num_regions, 1)
