"""Adapts the student's neck features to the shape of the teacher's, level by level.

MTPD sections 3.1 and 4.3, docs/papers.md 2.2 and 2.8.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.adapters import ChannelAdapter
from detection.distillation.alignment import aligned
from detection.distillation.compared import Compared
from detection.distillation.method import Pair
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.errors import InvalidValueError

Fit = Callable[[Tensor, Tensor], Tensor]
"""Resamples features to the height and width of another map."""


class LevelAdapters(nn.Module):
    """r() of every level that both necks have.

    It is the identity if the necks have the same width, else a 1x1 convolution for each level; then
    upsampling, if the teacher's map is larger. If an elastic side is narrower than the pair's
    width, it is compared with the leading channels of the other side.

    A teacher may see the images at another size. Methods that compare only whole maps
    (feature_matching, cwd, mgd, pkd) do so `on_teachers_grid`, as the paper does, so that none of
    the teacher's features are lost. Methods that also need boxes or masks, which are in the
    student's pixels, compare on the student's grid by the tap `neck`, as all methods on regions do.
    """

    def __init__(self, pair: Pair) -> None:
        """
        Args:
            pair: Sizes of the widest student and teacher of the lineage.

        Raises:
            InvalidValueError: The necks have no level in common.
        """
        super().__init__()
        self.strides = shared_strides(pair)
        channels = pair.student.neck_channels, pair.teacher.neck_channels
        learned = self.strides if channels[0] != channels[1] else ()
        self.convs = nn.ModuleDict({str(s): ChannelAdapter(*channels, 1) for s in learned})

    @property
    def linear(self) -> tuple[ChannelAdapter, ...]:
        """The 1x1 convolutions; empty if the necks have the same width."""
        return tuple(self.convs.values())  # type: ignore[arg-type] # built from them

    def forward(
        self, student: Mapping[int, Tensor], teacher: Mapping[int, Tensor], fit: Fit | None = None
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """Adapt the student's features to the teacher's at each shared stride.

        Args:
            student: The student's features by stride, N x C x H x W.
            teacher: The teacher's features by stride, N x C x H x W.
            fit: Resamples the adapted student's features; by default `upsampled`.

        Returns:
            Adapted student's and teacher's features by stride, both in the teacher's shape.
        """
        chosen = fit or upsampled
        return {s: self._pair(str(s), student[s], teacher[s], chosen) for s in self.strides}

    def on_teachers_grid(
        self, student: StudentTaps, teacher: TeacherTaps
    ) -> dict[int, tuple[Tensor, Tensor]]:
        """Adapt the student's features to the teacher's own cells at each shared stride.

        Points of the image are at the same cell in both, whatever the sizes of the two inputs.

        Returns:
            Adapted student's and teacher's features by stride, both in the teacher's shape.
        """

        return self(student.neck, teacher.own_neck, _fit_to(student, teacher))

    def compared(
        self, student: StudentTaps, teacher: TeacherTaps, *, on_teachers_grid: bool
    ) -> dict[str, Compared]:
        """Return what the adapters are given, and the teacher's features, by level.

        Resampling and a 1x1 convolution commute, so the features are already resampled.
        """
        neck = teacher.own_neck if on_teachers_grid else teacher.neck
        fit = (_fit_to(student, teacher) if on_teachers_grid else None) or upsampled
        linear = dict(zip(map(int, self.convs), self.linear, strict=True))
        found = {}
        for stride in self.strides:
            adapter = linear.get(stride)
            ours, target = student.neck[stride], neck[stride]
            if adapter is None:
                ours, target = _leading(ours, target)
            found[at_stride(stride)] = Compared(
                student=fit(ours, target), teacher=target, adapter=adapter
            )
        return found

    def _pair(self, name: str, student: Tensor, teacher: Tensor, fit: Fit) -> tuple[Tensor, Tensor]:
        if name in self.convs:
            adapted = self.convs[name](student, teacher.shape[1])
        else:
            adapted, teacher = _leading(student, teacher)
        return fit(adapted, teacher), teacher


def at_stride(stride: int) -> str:
    """Return the name of a level as a place that a method compares."""
    return f"at stride {stride}"


def _leading(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return the leading channels that both have."""
    width = min(student.shape[1], teacher.shape[1])
    return student[:, :width], teacher[:, :width]


def _fit_to(student: StudentTaps, teacher: TeacherTaps) -> Fit | None:
    """Return what resamples the student's features to the teacher's cells; None for `upsampled`,
    if both see the same input."""

    def fit(features: Tensor, like: Tensor) -> Tensor:
        return aligned(features, student.batch, like, teacher.batch)

    return None if teacher.batch is student.batch else fit


def shared_strides(pair: Pair) -> tuple[int, ...]:
    """Return the strides of the levels that both necks have, finest first.

    Raises:
        InvalidValueError: The necks have no level in common.
    """
    shared = set(pair.student.strides) & set(pair.teacher.strides)
    if not shared:
        raise InvalidValueError(
            f"the student's neck has strides {pair.student.strides} and the teacher's "
            f"{pair.teacher.strides}: neck features are compared at strides that both have"
        )
    return tuple(sorted(shared))


def upsampled(features: Tensor, like: Tensor) -> Tensor:
    """Resample features bilinearly to the height and width of another map, if they differ."""
    size = like.shape[-2:]
    if features.shape[-2:] == size:
        return features
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=False)
