"""Distilling the class scores of sampled RoIs. Joint-DetNAS (004) section 3.2.2, papers.md 1.8."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from detection.distillation.method import DistillationLoss
from detection.distillation.taps import Tap, Taps


class ClassificationLoss(DistillationLoss):
    """L_cls on all sampled RoIs, background included."""

    needs: ClassVar = frozenset({Tap.CLASS_LOGITS})

    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        return classification_loss(student[Tap.CLASS_LOGITS], teacher[Tap.CLASS_LOGITS])


def classification_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Soft cross entropy, L_cls = -1/N * sum_i P_t^i . log P_s^i, without temperature.

    For equal logits it is the teacher's mean entropy, its smallest value.

    Args:
        student_logits: N x (K + 1).
        teacher_logits: N x (K + 1).
    """
    per_roi = -(teacher_logits.softmax(dim=1) * functional.log_softmax(student_logits, dim=1))
    return per_roi.sum() / max(len(per_roi), 1)
