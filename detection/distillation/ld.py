"""Localisation distillation (LD), docs/papers.md 6.2: how likely each distance of a box's side is.

A side's distribution tells where the teacher is not sure. Both detectors are GFLs on the same grid.
Shapes: N images, A anchors of all levels, D + 1 distances of 0 to D strides.
"""

from collections.abc import Sequence
from typing import Self

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from detection.distillation.distribution_distance import side_divergences
from detection.distillation.method import DistillationMethod, Pair, balanced
from detection.distillation.taps import MatchedPredictions, StudentTaps, TeacherTaps
from searchd.domain.method_options import LdOptions


class Ld(DistillationMethod):
    """The loss at anchors that are trained to find an object, and near them."""

    def __init__(self, options: LdOptions) -> None:
        super().__init__()
        self._options = options

    @classmethod
    def build(cls, options: LdOptions, pair: Pair) -> Self:
        del pair
        return cls(options)

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        matched = student.matched_predictions
        assert matched.places is not None  # a GFL has one stage
        certain = matched.logits.detach().sigmoid().amax(dim=1)
        loss = self._at(student, teacher, (matched.image, matched.places), certain)
        if self._options.valuable:
            objects = [sample.gt_instances.bboxes for sample in student.batch.samples]
            ratio = self._options.valuable_ratio
            where = valuable_places(student.anchors, matched, objects, ratio)
            alike = torch.ones_like(where[0], dtype=loss.dtype)
            loss = loss + self._options.valuable * self._at(student, teacher, where, alike)
        return loss

    def _at(
        self,
        student: StudentTaps,
        teacher: TeacherTaps,
        where: tuple[Tensor, Tensor],
        weights: Tensor,
    ) -> Tensor:
        """Return the weighted mean of the divergences at places: images and anchors, M each."""
        found = side_divergences(
            student.box_distributions[where],
            teacher.box_distributions[where],
            self._options.temperature,
        )
        total = weights.sum()
        mean = (weights * found).sum() / total.clamp(min=torch.finfo(total.dtype).tiny)
        return balanced(mean, float(total))


def valuable_places(
    anchors: Tensor, matched: MatchedPredictions, objects: Sequence[Tensor], ratio: float
) -> tuple[Tensor, Tensor]:
    """Return image and anchor of the places near those that are trained to find an object.

    An anchor is near an object if their distance-IoU is at most the smallest, and at least `ratio`
    times the smallest, of the anchors that are trained to find it, and it finds none itself.

    Args:
        anchors: A x 4, xyxy in pixels of the input.
        matched: The places that are trained to find an object.
        objects: Each image's boxes, xyxy in pixels of the input; may be empty.
        ratio: Share of the threshold, gamma of the paper.
    """
    near = []
    assert matched.places is not None
    for number, boxes in enumerate(objects):
        here = matched.image == number
        places = matched.places[here]
        overlaps = distance_iou(anchors, boxes)  # A x G
        least = _least(overlaps, places, matched.object[here])
        chosen = ((overlaps >= ratio * least) & (overlaps <= least)).any(dim=1)
        chosen[places] = False
        near.append(chosen)
    image, place = torch.stack(near).nonzero(as_tuple=True)
    return image, place


def distance_iou(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Return the distance-IoU of every pair: the IoU minus the squared distance of the centres over
    that of opposite corners of the smallest box around both.

    Args:
        anchors: A x 4, xyxy.
        boxes: G x 4, xyxy.

    Returns:
        A x G, in (-1, 1].
    """
    one, other = anchors[:, None], boxes[None]
    between = ((one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]) / 2).square()
    corners = torch.maximum(one, other)[..., 2:] - torch.minimum(one, other)[..., :2]
    overlaps: Tensor = bbox_overlaps(anchors, boxes)
    return overlaps - between.sum(dim=-1) / corners.square().sum(dim=-1)


def _least(overlaps: Tensor, places: Tensor, objects: Tensor) -> Tensor:
    """Return the smallest overlap of each object with its own places; -inf without any: G."""
    least = overlaps.new_full((overlaps.shape[1],), -torch.inf)
    own = overlaps[places, objects]
    return least.scatter_reduce(0, objects, own, "amin", include_self=False)
