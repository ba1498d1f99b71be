"""Distils neck features inside a mask: the baselines of G-DetKD Table 6 (docs/papers.md 3.4). (Its
RoIFI is the method proposal_feature.)

L = 1/(2 N_p) * sum of mask * (f_adapt(F_s) - F_t)^2 over images, levels, channels and cells; N_p is
the sum of the masks. f_adapt is a 1x1 convolution for each level; necks of equal width have it too.
Masks are of boxes and anchors in the student's pixels, so features are compared on the student's
grid, also if the teacher sees the images at another size.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared, TeacherVariance, in_deviations
from detection.distillation.levels import at_stride, shared_strides, upsampled
from detection.distillation.masks import anchor_masks, gaussian_mask, ground_truth_mask
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.distillation_methods import FeatureImitationOptions
from searchd.domain.errors import InvalidValueError

MaskName = Literal["whole", "anchor", "gaussian", "ground_truth"]


class FeatureImitation(DistillationMethod):
    """The loss, with f_adapt of each level.

    Attributes:
        adapters: The convolutions by the level's stride.
    """

    def __init__(self, pair: Pair, mask: MaskName = "whole", *, by_variance: bool = False) -> None:
        """
        Args:
            pair: The pair whose necks are compared.
            mask: The mask.
            by_variance: Whether each level is divided by the teacher's variance.

        Raises:
            InvalidValueError: The necks have no level in common, or the mask needs anchors and the
                student has none.
        """
        super().__init__()
        if mask == "anchor" and pair.student.anchors is None:
            raise InvalidValueError(
                "mask=anchor needs a student with anchors, and this one's head has none; the masks "
                "that fit are whole, gaussian and ground_truth"
            )
        self._strides = shared_strides(pair)
        channels = pair.student.neck_channels, pair.teacher.neck_channels
        self.adapters = nn.ModuleDict({str(s): ChannelAdapter(*channels, 1) for s in self._strides})
        self.register_load_state_dict_pre_hook(_for_every_level)
        self._anchors = pair.student.anchors
        self._mask: MaskName = mask
        self.variance = TeacherVariance(len(self._strides)) if by_variance else None

    @classmethod
    def build(cls, options: FeatureImitationOptions, pair: Pair) -> Self:
        return cls(pair, options.mask, by_variance=options.normalise == "teacher_variance")

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return tuple(self.adapters.values())  # type: ignore[arg-type] # built from them

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return {
            at_stride(stride): Compared(
                student=upsampled(student.neck[stride], teacher.neck[stride]),
                teacher=teacher.neck[stride],
                adapter=adapter,
            )
            for stride, adapter in zip(self._strides, self.linear_adapters, strict=True)
        }

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        masks, pairs, on_targets = self._masks(student), [], []
        for stride in self._strides:
            target = teacher.neck[stride]
            adapted = self.adapters[str(stride)](student.neck[stride], target.shape[1])
            pairs.append((upsampled(adapted, target), target))
            on_targets.append(
                functional.interpolate(masks[stride][:, None], size=target.shape[-2:])
            )
        levels = [
            (*pair, mask)
            for pair, mask in zip(in_deviations(pairs, self.variance), on_targets, strict=True)
        ]
        num_points = torch.stack([mask.sum() for *_, mask in levels]).sum()
        return balanced(feature_imitation_loss(levels), float(num_points))

    def _masks(self, student: StudentTaps) -> Mapping[int, Tensor]:
        """Return the masks by stride, N x H x W, on the student's maps."""
        neck = student.neck
        objects = [sample.gt_instances.bboxes for sample in student.batch.samples]
        if self._mask == "whole":
            return {stride: torch.ones_like(level[:, 0]) for stride, level in neck.items()}
        if self._mask == "anchor":
            assert self._anchors is not None  # checked when it was built
            sizes = [(level.shape[2], level.shape[3]) for level in neck.values()]
            return dict(zip(neck, anchor_masks(self._anchors, objects, sizes), strict=True))
        of_boxes = gaussian_mask if self._mask == "gaussian" else ground_truth_mask
        return {
            stride: of_boxes(objects, stride, (level.shape[2], level.shape[3]))
            for stride, level in neck.items()
        }


def feature_imitation_loss(levels: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Masked squared difference, summed over channels, divided by twice the sum of the masks.

    Args:
        levels: For each level the adapted student's and the teacher's features, N x C x H x W, and
            the mask, N x 1 x H x W. If all masks are empty, the loss is 0.
    """
    squared = [(mask * (adapted - target).square()).sum() for adapted, target, mask in levels]
    num_points = torch.stack([mask.sum() for *_, mask in levels]).sum()
    return torch.stack(squared).sum() / (2 * num_points.clamp(min=1))


def _for_every_level(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Load the state of an earlier version, in which all levels had one convolution."""
    assert isinstance(module, FeatureImitation)
    for name in ("weight", "bias"):
        shared = state.pop(f"{prefix}adapter.{name}", None)
        if shared is not None:
            state.update({f"{prefix}adapters.{s}.{name}": shared for s in module.adapters})
