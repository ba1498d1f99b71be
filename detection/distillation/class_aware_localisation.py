"""Distilling box deltas weighted by class. Joint-DetNAS (004) section 3.2.2, papers.md 1.8."""

from typing import ClassVar

from torch import Tensor

from detection.distillation.method import DistillationLoss
from detection.distillation.taps import Tap, Taps


class ClassAwareLocalisationLoss(DistillationLoss):
    """L_reg on all sampled RoIs."""

    needs: ClassVar = frozenset({Tap.CLASS_LOGITS, Tap.BOX_DELTAS})

    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        return class_aware_localisation_loss(
            student[Tap.BOX_DELTAS], teacher[Tap.BOX_DELTAS], teacher[Tap.CLASS_LOGITS]
        )


def class_aware_localisation_loss(
    student_deltas: Tensor, teacher_deltas: Tensor, teacher_logits: Tensor
) -> Tensor:
    """L_reg = 1/N * sum_i | sum_c p_t^{i,c} * (reg_t^{i,c} - reg_s^{i,c}) |.

    c runs over foreground classes, p_t are the teacher's softmax scores (over all classes, and not
    renormalised), and |.| is summed over the 4 deltas (decision A12). Differences of several
    classes may cancel.

    Args:
        student_deltas: N x 4K, class by class.
        teacher_deltas: N x 4K.
        teacher_logits: N x (K + 1), background last.
    """
    scores = teacher_logits.softmax(dim=1)[:, :-1]
    difference = (teacher_deltas - student_deltas).view(*scores.shape, 4)
    weighted = (scores[..., None] * difference).sum(dim=1)  # N x 4
    return weighted.abs().sum() / max(len(weighted), 1)
