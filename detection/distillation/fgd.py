"""Focal and global distillation (FGD), docs/papers.md 6.

Focal: differences are weighted by the teacher's attention over positions and channels, separately
for objects and background, and the attentions themselves are compared. Global: outputs of a context
block (GCNet) on both sides are compared. The loss is summed over all levels that both necks have.
Objects are in the student's pixels, so features are compared on the student's grid, also if the
teacher sees the images at another size.
"""

from dataclasses import dataclass
from typing import Self

import torch
from mmcv.cnn import ContextBlock
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared
from detection.distillation.levels import LevelAdapters
from detection.distillation.masks import scale_mask
from detection.distillation.method import DistillationMethod, Pair, Sizes
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import FgdOptions

TEMPERATURE, ANCHOR_FREE_TEMPERATURE = 0.5, 0.8
"""Published temperatures of the attentions, for students with and without anchors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Weights of the parts of the loss."""

    foreground: float
    """Weight alpha of the foreground part."""
    background: float
    """Weight beta of the background part."""
    attention: float
    """Weight gamma of the attention part."""
    relation: float
    """Weight lambda of the global part."""


ONE_STAGE = Weights(foreground=1e-3, background=5e-4, attention=1e-3, relation=5e-6)
TWO_STAGE = Weights(foreground=5e-5, background=2.5e-5, attention=5e-5, relation=5e-7)


class Relations(nn.Module):
    """R of one side: adds global context to features, for the leading channels of C."""

    def __init__(self, channels: int) -> None:
        """
        Args:
            channels: Channels of the widest teacher, C.
        """
        super().__init__()
        self.block = ContextBlock(channels, ratio=1 / 2)  # FGD's GcBlock: zero-init at the end
        self._channels = channels

    def forward(self, features: Tensor) -> Tensor:
        """N x C' x H x W -> the same, C' at most C."""
        width = features.shape[1]
        padding = (0, 0, 0, 0, 0, self._channels - width)  # missing channels add zero
        related: Tensor = self.block(functional.pad(features, padding))
        return related[:, :width]


class Fgd(DistillationMethod):
    """The loss, with R of both sides of each level, and a 1x1 convolution for each level if the
    necks' widths differ."""

    def __init__(self, pair: Pair, *, temperature: float, weights: Weights) -> None:
        """
        Args:
            pair: The pair whose necks are compared.
            temperature: Temperature T of the attentions, > 0.
            weights: Weights of the parts of the loss.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.adapters = LevelAdapters(pair)
        strides = [str(stride) for stride in self.adapters.strides]
        channels = pair.teacher.neck_channels
        self.student_relations = nn.ModuleDict({s: Relations(channels) for s in strides})
        self.teacher_relations = nn.ModuleDict({s: Relations(channels) for s in strides})
        self._temperature, self._weights = temperature, weights

    @classmethod
    def build(cls, options: FgdOptions, pair: Pair) -> Self:
        published = TWO_STAGE if pair.student.two_stage else ONE_STAGE
        weights = Weights(
            foreground=_chosen(options.foreground, published.foreground),
            background=_chosen(options.background, published.background),
            attention=_chosen(options.attention, published.attention),
            relation=_chosen(options.relation, published.relation),
        )
        temperature = _chosen(options.temperature, _published_temperature(pair.student))
        return cls(pair, temperature=temperature, weights=weights)

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        return self.adapters.linear

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        return self.adapters.compared(student, teacher, on_teachers_grid=False)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        objects = [sample.gt_instances.bboxes for sample in student.batch.samples]
        losses = []
        for stride, (adapted, target) in self.adapters(student.neck, teacher.neck).items():
            cell = stride * student.neck[stride].shape[3] / target.shape[3]
            foreground = scale_mask(objects, cell, (target.shape[2], target.shape[3]))
            focal = focal_loss(adapted, target, foreground, self._temperature, self._weights)
            relation = relation_loss(
                self.student_relations[str(stride)](adapted),
                self.teacher_relations[str(stride)](target),
            )
            losses.append(focal + self._weights.relation * relation)
        return torch.stack(losses).sum()


def focal_loss(
    adapted: Tensor, target: Tensor, foreground: Tensor, temperature: float, weights: Weights
) -> Tensor:
    """alpha * foreground part + beta * background part + gamma * attention part.

    The first two are 1/N * sum of M * A_S^t * A_C^t * (F_t - F_s)^2, the third
    1/N * (|A_S^t - A_S^s|_1 + |A_C^t - A_C^s|_1).

    Args:
        adapted: N x C x H x W, the student's features after the adapter.
        target: N x C x H x W, the teacher's features.
        foreground: N x H x W, M_fg: see `masks.scale_mask`.
        temperature: Temperature T of the attentions, > 0.
        weights: Weights alpha, beta and gamma.
    """
    spatial, channel = attentions(target, temperature)
    own_spatial, own_channel = attentions(adapted, temperature)
    masks = weights.foreground * foreground + weights.background * background_mask(foreground)
    weighted = torch.einsum("nchw,nc,nhw->", (target - adapted).square(), channel, spatial * masks)
    attended = (spatial - own_spatial).abs().sum() + (channel - own_channel).abs().sum()
    return (weighted + weights.attention * attended) / len(target)


def attentions(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return A_S = H W softmax(mean over channels of |F| / T), over positions, N x H x W; and
    A_C = C softmax(mean over positions of |F| / T), over channels, N x C.

    Args:
        features: N x C x H x W.
        temperature: Temperature T, > 0.
    """
    size, channels = features.shape[-2:], features.shape[1]
    strength = features.abs()
    spatial = (strength.mean(dim=1).flatten(1) / temperature).softmax(dim=1)
    channel = (strength.mean(dim=(2, 3)) / temperature).softmax(dim=1)
    return (size.numel() * spatial).unflatten(1, size), channels * channel


def background_mask(foreground: Tensor) -> Tensor:
    """Return M_bg: 1 / (number of the image's background cells) in them, else 0; N x H x W."""
    outside = (foreground == 0).to(foreground.dtype)
    return outside / outside.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def relation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """1/N * |R(F_t) - R(F_s)|^2; both N x C x H x W."""
    return (teacher - student).square().sum() / len(teacher)


def _published_temperature(student: Sizes) -> float:
    """Return FGD's published temperature, which differs for FCOS."""
    return ANCHOR_FREE_TEMPERATURE if student.anchors is None else TEMPERATURE


def _chosen(option: float | None, published: float) -> float:
    return published if option is None else option
