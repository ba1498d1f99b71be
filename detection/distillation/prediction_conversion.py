"""Distils a two-stage teacher's class scores into a one-stage student. G-DetKD appendix D,
docs/papers.md 3.5."""

from torch import Tensor
from torch.nn import functional

from detection.distillation.method import MethodWithoutOptions, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps


class PredictionConversion(MethodWithoutOptions):
    """The loss L_cls with converted scores, on all regions."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        logits = student.class_logits
        return balanced(prediction_conversion_loss(logits, teacher.class_logits), len(logits))


def prediction_conversion_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """L_cls = -1/N * sum_i sum_c P_t^{i,c} log P_s^{i,c}, with c over the object classes.

    P_t is the teacher's softmax, P_s the student's scores after `converted_log_scores`.

    Args:
        student_logits: N x K, logits of sigmoids.
        teacher_logits: N x (K + 1), background last.
    """
    scores = teacher_logits.softmax(dim=1)[:, :-1]
    return -(scores * converted_log_scores(student_logits)).sum() / max(len(scores), 1)


def converted_log_scores(logits: Tensor) -> Tensor:
    """Return log of P_s = softmax(L_s) / max(softmax(L_s)) for the object classes; N x K.

    L_s has a background column. For a head of sigmoids its logit is 0 (docs/papers.md 3.5), since a
    sigmoid is a softmax with a logit of 0. The maximum is over all columns. If every logit is
    negative, background has the maximum, and P_s is exp(logit).

    Args:
        logits: N x K, logits of sigmoids.
    """
    with_background = functional.pad(logits, (0, 1))
    # The softmax's denominators cancel.
    return logits - with_background.amax(dim=1, keepdim=True)
