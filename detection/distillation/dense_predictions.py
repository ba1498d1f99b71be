"""Everything that a dense head predicts, in one row of places over all levels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detection.distillation.taps import Cells


class DensePredictions:
    """The outputs of a one-stage head, with the A = sum of H * W * anchors places of all levels in
    one row, ordered by level, row, column, anchor.

    Attributes:
        logits: N x A x K, or K + 1 with background last (SSD).
        deltas: N x A x 4, as the head puts them out.
        priors: A x 4 anchors (xyxy), or A x 2 points, in pixels of the input.
        cells: Which level, cell and anchor each place is; A.
        level_sizes: Number of places of each level.
    """

    def __init__(
        self, head: Any, scores: Sequence[Tensor], deltas: Sequence[Tensor], strides: Sequence[int]
    ) -> None:
        """
        Args:
            head: Of mmdet; in the mode in which it computed what follows.
            scores: Per level, N x anchors*C x H x W.
            deltas: Per level, N x anchors*4 x H x W.
            strides: Of the levels.
        """
        self._head = head
        sizes = [tuple(level.shape[-2:]) for level in scores]
        priors = head.prior_generator.grid_priors(
            sizes, dtype=scores[0].dtype, device=scores[0].device
        )
        anchors = [len(p) // (h * w) for p, (h, w) in zip(priors, sizes, strict=True)]
        self.level_sizes = [len(p) for p in priors]
        self.logits = _in_one_row(scores, anchors)
        self.deltas = _in_one_row(deltas, anchors)
        self.priors = torch.cat(list(priors))
        self.cells = _cells(self.level_sizes, anchors, self.priors.device)
        self._strides = self.priors.new_tensor(strides)[self.cells.level]

    def boxes(self, image: int | Tensor, place: Tensor) -> Tensor:
        """Predicted boxes, xyxy in pixels of the input, not clipped; M x 4.

        Args:
            image: Image number, or one for each of M.
            place: M, long.
        """
        deltas = self.deltas[image, place]
        if getattr(self._head, "norm_on_bbox", False) and self._head.training:
            # FCOS multiplies by the stride in eval mode only.
            deltas = deltas * self._strides[place][:, None]
        boxes: Tensor = self._head.bbox_coder.decode(self.priors[place], deltas)
        return boxes

    def best_scores(self, image: int) -> Tensor:
        """The score of each place's best class; A."""
        logits = self.logits[image]
        if logits.shape[1] == self._head.num_classes:
            return logits.sigmoid().amax(dim=1)
        return logits.softmax(dim=1)[:, :-1].amax(dim=1)


def _in_one_row(levels: Sequence[Tensor], anchors: Sequence[int]) -> Tensor:
    """Levels of N x anchors*C x H x W -> N x A x C."""
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
