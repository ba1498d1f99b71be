"""Distillation from a stronger teacher (DIST) by the class scores of sampled RoIs, docs/papers.md
6.1: the student keeps the teacher's order of classes for a region and of regions for a class, not
its numbers."""

from typing import Self

from torch import Tensor
from torch.nn import functional

from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import DistOptions


class Dist(DistillationMethod):
    """The loss on all regions, background included."""

    def __init__(self, options: DistOptions) -> None:
        super().__init__()
        self._options = options

    @classmethod
    def build(cls, options: DistOptions, pair: Pair) -> Self:  # noqa: ARG003 # no adapter
        return cls(options)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        logits = student.class_logits
        loss = dist_loss(logits, teacher.class_logits, self._options)
        return balanced(loss, len(logits))


def dist_loss(student: Tensor, teacher: Tensor, options: DistOptions) -> Tensor:
    """L = T^2 (beta mean over regions of (1 - r of their class scores) + gamma mean over classes of
    (1 - r of their scores in all regions)), r being Pearson's correlation of softmaxes at
    temperature T. Scores that do not vary have r = 0.

    Args:
        student: N x (K + 1), class logits.
        teacher: N x (K + 1), class logits.
        options: beta (`inter`), gamma (`intra`) and T (`temperature`).
    """
    ours, theirs = ((each / options.temperature).softmax(dim=1) for each in (student, teacher))
    inter = (1 - correlation(ours, theirs, dim=1)).sum() / max(len(ours), 1)
    intra = (1 - correlation(ours, theirs, dim=0)).mean()
    return options.temperature**2 * (options.inter * inter + options.intra * intra)


def correlation(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along a dimension; 0 where one side does not vary."""
    one, other = (each - each.mean(dim=dim, keepdim=True) for each in (first, second))
    return functional.cosine_similarity(one, other, dim=dim)
