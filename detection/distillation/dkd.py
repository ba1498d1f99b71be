"""Decoupled knowledge distillation (DKD) of the class scores of sampled RoIs, docs/papers.md 6.1:
how sure the teacher is of the right class, and how it rates the others, each with a weight."""

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import DkdOptions


class Dkd(DistillationMethod):
    """The loss on all regions. The right class of a region without an object is the background."""

    def __init__(self, options: DkdOptions) -> None:
        super().__init__()
        self._options = options

    @classmethod
    def build(cls, options: DkdOptions, pair: Pair) -> Self:  # noqa: ARG003 # no adapter
        return cls(options)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        labels = student.regions.labels
        loss = dkd_loss(student.class_logits, teacher.class_logits, labels, self._options)
        return balanced(loss, len(labels))


def dkd_loss(student: Tensor, teacher: Tensor, labels: Tensor, options: DkdOptions) -> Tensor:
    """L = T^2 / N * sum over regions of (alpha KL of the right class against all others + beta KL
    among the others), both KL(teacher || student) of softmaxes at temperature T.

    Args:
        student: N x (K + 1), class logits.
        teacher: N x (K + 1), class logits.
        labels: N, long: the right class; K for the background.
        options: alpha (`target`), beta (`others`) and T (`temperature`).
    """
    ours = _decoupled(student / options.temperature, labels)
    theirs = _decoupled(teacher / options.temperature, labels)
    target, others = (
        functional.kl_div(own, other, reduction="sum", log_target=True)
        for own, other in zip(ours, theirs, strict=True)
    )
    weighted = options.target * target + options.others * others
    return options.temperature**2 * weighted / max(len(labels), 1)


def _decoupled(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of the right class and of all others, N x 2, and of each other class
    if it is none but those, N x K."""
    right = labels[:, None]
    positions = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = logits.gather(1, positions + (positions >= right))
    total = logits.logsumexp(dim=1, keepdim=True)
    binary = [logits.gather(1, right) - total, others.logsumexp(dim=1, keepdim=True) - total]
    return torch.cat(binary, dim=1), others.log_softmax(dim=1)
