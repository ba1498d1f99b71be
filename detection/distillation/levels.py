"""Neck features of student and teacher in one shape: matched by stride, level by level.

MTPD (003) section 3.1, papers.md 2.2 and decisions B4 and B10.
"""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.method import Pair
from searchd.domain.errors import InvalidValueError


class LevelAdapters(nn.Module):
    """r() of every level that both necks have.

    The identity where the necks have the same width, else a 1x1 convolution of each level's own;
    then upsampling, if the teacher's map is larger. A side that is narrower than the pair's width,
    being elastic, has the leading channels, and the other side's leading channels are compared.
    """

    def __init__(self, pair: Pair) -> None:
        """
        Args:
            pair: Of the widest student and teacher of the lineage.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.strides = shared_strides(pair)
        channels = pair.student.neck_channels, pair.teacher.neck_channels
        learned = self.strides if channels[0] != channels[1] else ()
        self.convs = nn.ModuleDict({str(s): ChannelAdapter(*channels, 1) for s in learned})

    def forward(
        self, student: Mapping[int, Tensor], teacher: Mapping[int, Tensor]
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """Adapted student and teacher of each shared stride, N x C x H x W both.

        Args:
            student: Each level's features by stride.
            teacher: Likewise.
        """
        return {s: self._pair(str(s), student[s], teacher[s]) for s in self.strides}

    def _pair(self, name: str, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if name in self.convs:
            adapted = self.convs[name](student, teacher.shape[1])
        else:
            width = min(student.shape[1], teacher.shape[1])
            adapted, teacher = student[:, :width], teacher[:, :width]
        return upsampled(adapted, teacher), teacher


def shared_strides(pair: Pair) -> tuple[int, ...]:
    """Strides of the levels that both necks have, finest first.

    Raises:
        InvalidValueError: There is none.
    """
    shared = set(pair.student.strides) & set(pair.teacher.strides)
    if not shared:
        raise InvalidValueError(
            f"the student's neck has strides {pair.student.strides} and the teacher's "
            f"{pair.teacher.strides}: neck features are compared at strides that both have"
        )
    return tuple(sorted(shared))


def upsampled(features: Tensor, like: Tensor) -> Tensor:
    """Features in the height and width of another map; bilinear, if they differ."""
    size = like.shape[-2:]
    if features.shape[-2:] == size:
        return features
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
