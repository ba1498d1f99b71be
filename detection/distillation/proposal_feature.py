"""Distils RoI features of positive proposals. Joint-DetNAS section 3.2.1, docs/papers.md 1.8.

L_feat = 1/N_p * sum over RoIs, positions and channels of (f_adap(F_S) - F_T)^2, on positive
proposals only, which the paper's ablation prefers. On the regions of a one-stage student it is
RoIFI of G-DetKD (Table 6).
"""

from typing import Literal, Self

from torch import Tensor

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared, TeacherVariance, in_deviations
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.distillation_methods import ProposalFeatureOptions

Reduction = Literal["mean", "channel_sum"]


class ProposalFeature(DistillationMethod):
    """The loss, with the adapter f_adap, a 3x3 convolution."""

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        reduction: Reduction = "mean",
        *,
        by_variance: bool = False,
    ) -> None:
        """
        Args:
            student_channels: The student's neck channels; the most that it can have if it is
                elastic.
            teacher_channels: Neck channels of the widest teacher of the lineage.
            reduction: See `proposal_feature_loss`.
            by_variance: Whether the loss is divided by the teacher's variance.
        """
        super().__init__()
        self.adapter = ChannelAdapter(student_channels, teacher_channels, 3)
        self._reduction: Reduction = reduction
        self.variance = TeacherVariance(1) if by_variance else None

    @classmethod
    def build(cls, options: ProposalFeatureOptions, pair: Pair) -> Self:
        return cls(
            pair.student.region_channels,
            pair.teacher.region_channels,
            options.reduction,
            by_variance=options.normalise == "teacher_variance",
        )

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return (self.adapter,)

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return {
            "in the regions": Compared(
                student=student.region_features,
                teacher=teacher.region_features,
                adapter=self.adapter,
            )
        }

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        features, target = student.region_features, teacher.region_features
        adapted = self.adapter(features, target.shape[1])
        ((adapted, target),) = in_deviations([(adapted, target)], self.variance)
        loss = proposal_feature_loss(adapted, target, self._reduction)
        return balanced(loss, len(features))


def proposal_feature_loss(adapted: Tensor, target: Tensor, reduction: Reduction) -> Tensor:
    """Squared difference of RoI features.

    Args:
        adapted: P x C x h x w, the student's features after the adapter.
        target: P x C x h x w, the teacher's features.
        reduction: "mean" over RoIs, positions and channels, which does not depend on C;
            "channel_sum" for the paper's literal formula, with N_p = P * h * w.
    """
    squared = (adapted - target).square()
    if reduction == "channel_sum":
        squared = squared.sum(dim=1)
    return squared.sum() / max(squared.numel(), 1)
