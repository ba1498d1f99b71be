"""Distils the class scores of sampled RoIs. Joint-DetNAS section 3.2.2, G-DetKD section 4.3.1,
docs/papers.md 1.8 and 3.3."""

from torch import Tensor
from torch.nn import functional

from detection.distillation.method import MethodWithoutOptions, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps


class Classification(MethodWithoutOptions):
    """The loss L_cls on all regions, background included."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        logits = student.class_logits
        return balanced(classification_loss(logits, teacher.class_logits), len(logits))


def classification_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Soft cross entropy, L_cls = -1/N * sum_i P_t^i . log P_s^i, without temperature.

    Its smallest value, for equal logits, is the teacher's mean entropy.

    Args:
        student_logits: N x (K + 1).
        teacher_logits: N x (K + 1).
    """
    per_roi = -(teacher_logits.softmax(dim=1) * functional.log_softmax(student_logits, dim=1))
    return per_roi.sum() / max(len(per_roi), 1)
