"""Flattens the predictions of a dense head over all levels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detection.distillation.dense_heads import predicts_boxes
from detection.distillation.taps import Cells

SMALLEST = 1e-6
"""Probabilities closer to 0 or 1 are taken to be this far from it: their logits are finite then."""


class DensePredictions:
    """The outputs of a one-stage head at all A = sum of H * W * anchors places.

    A place is an anchor or point of a cell. Places are ordered by level, row, column and anchor.

    Attributes:
        logits: N x A x K, or K + 1 with background last (SSD).
        deltas: N x A x 4, the head's box outputs; N x A x 4*(D + 1) of a head that predicts
            distributions over distances up to D strides (GFL); of TOOD, xyxy in strides.
        priors: A x 4 anchors (xyxy), or A x 2 points, in pixels of the input.
        cells: Level, cell and anchor of each place; A.
        level_sizes: Number of places of each level.
    """

    def __init__(
        self, head: Any, scores: Sequence[Tensor], deltas: Sequence[Tensor], strides: Sequence[int]
    ) -> None:
        """
        Args:
            head: mmdet's head, in the mode in which it computed scores and deltas.
            scores: Class scores of each level, N x anchors*C x H x W: logits, or of TOOD
                probabilities.
            deltas: Box outputs of each level, N x anchors*4 x H x W; of GFL, a distribution instead
                of each of the four.
            strides: Strides of the levels.
        """
        self._head = head
        sizes = [tuple(level.shape[-2:]) for level in scores]
        priors = head.prior_generator.grid_priors(
            sizes, dtype=scores[0].dtype, device=scores[0].device
        )
        anchors = [len(p) // (h * w) for p, (h, w) in zip(priors, sizes, strict=True)]
        self.level_sizes = [len(p) for p in priors]
        self._has_boxes = predicts_boxes(head)
        flat = _flattened(scores, anchors)
        self.logits = flat.logit(eps=SMALLEST) if self._has_boxes else flat
        self.deltas = _flattened(deltas, anchors)
        self.priors = torch.cat(list(priors))
        self.cells = _cells(self.level_sizes, anchors, self.priors.device)
        self._strides = self.priors.new_tensor(strides)[self.cells.level]

    def boxes(self, image: int | Tensor, place: Tensor) -> Tensor:
        """Return predicted boxes, xyxy in pixels of the input, not clipped; M x 4.

        Args:
            image: Image number in the batch; one for all, or M.
            place: M, long: numbers of the places.
        """
        deltas, priors = self.deltas[image, place], self.priors[place]
        if self._has_boxes:
            return deltas * self._strides[place][:, None]
        if self.has_distributions:
            deltas = self._head.integral(deltas) * self._strides[place][:, None]
            priors = self._head.anchor_center(priors)
        if getattr(self._head, "norm_on_bbox", False) and self._head.training:
            # FCOS multiplies by the stride in eval mode only.
            deltas = deltas * self._strides[place][:, None]
        boxes: Tensor = self._head.bbox_coder.decode(priors, deltas)
        return boxes

    @property
    def has_distributions(self) -> bool:
        """Whether `deltas` are distributions over distances."""
        return hasattr(self._head, "integral")

    def best_scores(self, image: int) -> Tensor:
        """Return the score of each place's best class; A."""
        logits = self.logits[image]
        if logits.shape[1] == self._head.num_classes:
            return logits.sigmoid().amax(dim=1)
        return logits.softmax(dim=1)[:, :-1].amax(dim=1)


def _flattened(levels: Sequence[Tensor], anchors: Sequence[int]) -> Tensor:
    """Flatten levels: N x anchors*C x H x W each -> N x A x C."""
    return torch.cat(
        [
            level.permute(0, 2, 3, 1).reshape(len(level), -1, level.shape[1] // count)
            for level, count in zip(levels, anchors, strict=True)
        ],
        dim=1,
    )


def _cells(sizes: Sequence[int], anchors: Sequence[int], device: torch.device) -> Cells:
    index = [torch.arange(size, device=device) for size in sizes]
    return Cells(
        level=torch.cat([torch.full_like(at, number) for number, at in enumerate(index)]),
        cell=torch.cat([at // count for at, count in zip(index, anchors, strict=True)]),
        anchor=torch.cat([at % count for at, count in zip(index, anchors, strict=True)]),
    )
