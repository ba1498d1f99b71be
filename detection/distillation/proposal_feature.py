"""Distilling RoI features of positive proposals. Joint-DetNAS (004) section 3.2.1, papers.md 1.8.

L_feat = 1/N_p * sum over RoIs, positions and channels of (f_adap(F_S) - F_T)^2, on positive
proposals only (the paper's own ablation prefers them; decisions A10 and A11).
"""

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.method import DistillationLoss
from detection.distillation.taps import Tap, Taps

Reduction = Literal["mean", "channel_sum"]


class ProposalFeatureLoss(DistillationLoss):
    """The loss with its adapter f_adap, a 3x3 convolution."""

    needs: ClassVar = frozenset({Tap.POSITIVE_FEATURES})

    def __init__(
        self, *, student_channels: int, max_teacher_channels: int, reduction: Reduction = "mean"
    ) -> None:
        """
        Args:
            student_channels: The student's neck channels; the widest, if it is elastic. A narrower
                student uses the leading inputs.
            max_teacher_channels: The widest neck of any teacher to come. A narrower one uses the
                leading outputs, so that one adapter serves all teachers of a lineage.
            reduction: See `proposal_feature_loss`.
        """
        super().__init__()
        self.adapter = nn.Conv2d(student_channels, max_teacher_channels, 3, padding=1)
        self._reduction: Reduction = reduction

    def forward(self, student: Taps, teacher: Taps) -> Tensor:
        features, target = student[Tap.POSITIVE_FEATURES], teacher[Tap.POSITIVE_FEATURES]
        inputs, outputs = features.shape[1], target.shape[1]
        assert self.adapter.bias is not None
        adapted = functional.conv2d(
            features,
            self.adapter.weight[:outputs, :inputs],
            self.adapter.bias[:outputs],
            padding=1,
        )
        return proposal_feature_loss(adapted, target, self._reduction)


def proposal_feature_loss(adapted: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    """Squared difference of RoI features.

    Args:
        adapted: P x C x h x w, the student's after the adapter.
        target: P x C x h x w, the teacher's.
        reduction: "mean" over RoIs, positions and channels, which keeps weight 1 sensible whatever
            C is; "channel_sum" for the paper's literal formula: N_p = P * h * w.
    """
    squared = (adapted - target).square()
    if reduction == "channel_sum":
        squared = squared.sum(dim=1)
    return squared.sum() / max(squared.numel(), 1)
