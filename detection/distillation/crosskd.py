"""Cross-head distillation (CrossKD), docs/papers.md 6.3: from maps in the student's towers, the
teacher's head is to predict what it predicts from its own.

So the student's own predictions follow the objects alone. Shapes: N images, A anchors or points of
all levels, K classes.
"""

from typing import Self

import torch
from torch import Tensor, nn

from detection.distillation.dense_distances import giou_distances, quality_focal_loss
from detection.distillation.dense_predictions import DensePredictions
from detection.distillation.distribution_distance import side_divergences
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import CrosskdOptions

FOCUS = 2.0
"""Exponent beta of the quality focal loss, GFL's."""


class Crosskd(DistillationMethod):
    """The loss, with a 1x1 convolution for each tower if the maps' widths differ."""

    def __init__(self, options: CrosskdOptions, pair: Pair) -> None:
        """
        Args:
            options: The options.
            pair: The pair, both with one stage and towers.

        Raises:
            InvalidValueError: The teacher's towers have fewer convolutions than `teacher_convs`.
        """
        super().__init__()
        if options.teacher_convs > pair.teacher.tower_convs:
            raise InvalidValueError(
                f"crosskd with teacher_convs={options.teacher_convs} needs a teacher whose towers "
                f"have as many convolutions, and this one has {pair.teacher.tower_convs}"
            )
        self._options = options
        self._place = max(pair.student.tower_convs - options.teacher_convs, 0)
        ours = pair.student.embedding_channels if self._place else pair.student.neck_channels
        theirs = pair.teacher.embedding_channels
        if options.teacher_convs == pair.teacher.tower_convs:
            theirs = pair.teacher.neck_channels
        assert ours is not None  # the catalogue allows towers alone
        assert theirs is not None
        self.adapters = nn.ModuleList(
            nn.Identity() if ours == theirs else nn.Conv2d(ours, theirs, 1) for _ in range(2)
        )

    @classmethod
    def build(cls, options: CrosskdOptions, pair: Pair) -> Self:
        return cls(options, pair)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        towers, (to_classes, to_boxes) = student.towers, self.adapters
        crossed = teacher.crossed_outputs(
            [to_classes(level) for level in towers.classes[self._place]],
            [to_boxes(level) for level in towers.boxes[self._place]],
            self._options.teacher_convs,
        )
        strides = list(student.neck)
        predicted, target = (
            DensePredictions(teacher.dense_head, *outputs, strides)
            for outputs in (crossed, teacher.dense_outputs)
        )
        sure = target.logits.sigmoid().amax(dim=2)  # N x A
        loss = quality_focal_loss(predicted.logits, target.logits, FOCUS)
        if self._options.boxes:
            apart = box_distances(predicted, target)
            loss = loss + self._options.boxes * (sure * apart).sum()
        total = sure.sum()
        return balanced(loss / total.clamp(min=torch.finfo(total.dtype).tiny), float(total))


def box_distances(predicted: DensePredictions, target: DensePredictions) -> Tensor:
    """Return how far apart two predictions of a head are at every place, N x A: the divergence of
    the distributions of the sides, or without distributions 1 - GIoU."""
    if predicted.has_distributions:
        ours, theirs = (each.deltas.unflatten(2, (4, -1)) for each in (predicted, target))
        return side_divergences(ours, theirs, temperature=1)
    return giou_distances(predicted, target)
