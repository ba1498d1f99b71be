"""Distils box deltas weighted by class. Joint-DetNAS section 3.2.2, G-DetKD section 4.3.1,
docs/papers.md 1.8 and 3.3."""

from torch import Tensor

from detection.distillation.method import MethodWithoutOptions, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps


class ClassAwareLocalisation(MethodWithoutOptions):
    """The loss L_reg on all regions."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        deltas = student.box_deltas
        loss = class_aware_localisation_loss(deltas, teacher.box_deltas, teacher.class_logits)
        return balanced(loss, len(deltas))


def class_aware_localisation_loss(
    student_deltas: Tensor, teacher_deltas: Tensor, teacher_logits: Tensor
) -> Tensor:
    """L_reg = 1/N * sum_i | sum_c p_t^{i,c} * (reg_t^{i,c} - reg_s^{i,c}) |.

    c is a foreground class, p_t are the teacher's softmax scores (over all classes, and not
    renormalised), and |.| is summed over the 4 deltas (docs/papers.md 1.8). Differences of several
    classes can cancel.

    Args:
        student_deltas: N x 4K, class by class.
        teacher_deltas: N x 4K.
        teacher_logits: N x (K + 1), background last.
    """
    scores = teacher_logits.softmax(dim=1)[:, :-1]
    difference = (teacher_deltas - student_deltas).view(*scores.shape, 4)
    weighted = (scores[..., None] * difference).sum(dim=1)  # N x 4
    return weighted.abs().sum() / max(len(weighted), 1)
