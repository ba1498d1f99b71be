"""Boxes that may become detections, in tensors of one size for all images.

mmdet drops candidates, so that each image has another number of them. Here they stay, with the
score `LEFT_OUT`: the results are the same, and the computation can be traced.

Shapes: B images, N candidates per image. Boxes are xyxy in pixels of the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from detection.deployment.operators import LEFT_OUT, Operators

MAX_LOG_RATIO = float(np.abs(np.log(16 / 1000)))
"""Largest logarithm of a box's side over its prior's side (mmdet's `wh_ratio_clip`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Height and width of the input in pixels, before padding. Symbolic while it is traced."""

    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Boxes with scores."""

    boxes: Tensor
    """B x N x 4."""
    scores: Tensor
    """B x N, at least 0, or `LEFT_OUT`."""
    groups: Tensor
    """B x N, int64: the class, or the level. Boxes of different groups do not suppress each
    other."""

    @property
    def counts(self) -> Tensor:
        """B x N, bool: whether it is a candidate."""
        return self.scores > LEFT_OUT / 2


def joined(parts: Sequence[Candidates]) -> Candidates:
    """Return the candidates of several levels together."""
    return Candidates(
        boxes=torch.cat([part.boxes for part in parts], dim=1),
        scores=torch.cat([part.scores for part in parts], dim=1),
        groups=torch.cat([part.groups for part in parts], dim=1),
    )


def without_empty(found: Candidates) -> Candidates:
    """Leave out boxes without area (mmdet's `min_bbox_size: 0`)."""
    sides = found.boxes[..., 2:] - found.boxes[..., :2]
    has_area = (sides > 0).all(dim=-1)
    return replace(found, scores=left_out_unless(has_area, found.scores))


def suppressed(found: Candidates, operators: Operators, *, iou: float, max_kept: int) -> Candidates:
    """Return the candidates that NMS within each group keeps, by falling score.

    As in mmcv's `batched_nms`, groups are moved apart and suppressed together; the rounding is the
    same therefore.

    Returns:
        `max_kept` candidates per image, or all if there are fewer; `LEFT_OUT` after the last one.
    """
    inside = torch.where(found.counts[..., None], found.boxes, 0.0)
    step = inside.amax(dim=(1, 2)) + 1  # B
    offsets = found.groups.to(found.boxes.dtype) * step[:, None]
    moved = found.boxes + offsets[..., None]
    kept = operators.kept_by_nms(moved, found.scores, iou, max_kept)
    scores, places = best(left_out_unless(kept, found.scores), max_kept)
    return Candidates(
        boxes=at(found.boxes, places), scores=scores, groups=found.groups.gather(1, places)
    )


def left_out_unless(condition: Tensor, scores: Tensor) -> Tensor:
    """Return the scores where the condition holds, and `LEFT_OUT` elsewhere."""
    return torch.where(condition, scores, LEFT_OUT)


def best(scores: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Return the largest scores of each image in order, and their places; all if there are fewer.

    Where N is not known before the graph runs, the result always has `number` scores, `LEFT_OUT`
    after the last one. So nothing that follows has a size of its own for each size of the input.

    Args:
        scores: B x N.
        number: Largest number of scores per image.
    """
    count = scores.shape[1]
    if isinstance(count, int):
        return scores.topk(min(number, count), dim=1)
    filled = functional.pad(scores, (0, number), value=LEFT_OUT)
    values, places = filled.topk(number, dim=1)
    return values, places.clamp(max=count - 1)


def at(values: Tensor, places: Tensor) -> Tensor:
    """Return the rows at places of each image: B x N x D and B x P -> B x P x D."""
    return values.gather(1, places[..., None].expand(-1, -1, values.shape[2]))


def from_deltas(priors: Tensor, deltas: Tensor, stds: Sequence[float], size: Size) -> Tensor:
    """Decode offsets from anchors or regions, as mmdet's DeltaXYWHBBoxCoder does.

    Args:
        priors: ... x 4, xyxy.
        deltas: ... x 4: the centre's offset over the prior's sides, the logarithm of the sides'
            ratio; both over `stds`.
        stds: Factors of x, y, w, h.
        size: Boxes are clipped to it.
    """
    scaled = deltas * deltas.new_tensor(stds)
    centres = (priors[..., :2] + priors[..., 2:]) * 0.5
    sides = priors[..., 2:] - priors[..., :2]
    new_centres = centres + sides * scaled[..., :2]
    new_sides = sides * scaled[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    boxes = torch.cat([new_centres - new_sides * 0.5, new_centres + new_sides * 0.5], dim=-1)
    return clipped(boxes, size)


def from_distances(points: Tensor, distances: Tensor, size: Size) -> Tensor:
    """Decode distances in pixels from points to the left, top, right and bottom side.

    Args:
        points: ... x 2, x and y.
        distances: ... x 4.
        size: Boxes are clipped to it.
    """
    boxes = torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)
    return clipped(boxes, size)


def expected_distances(logits: Tensor, largest: int) -> Tensor:
    """Return the mean of a distribution over 0, 1, ..., `largest` for each of four sides, as GFL.

    Args:
        logits: ... x 4 * (largest + 1), side by side.
        largest: The largest distance.

    Returns:
        ... x 4, in the unit of the distances.
    """
    probabilities = logits.unflatten(-1, (4, largest + 1)).softmax(dim=-1)
    steps = torch.arange(largest + 1, dtype=logits.dtype, device=logits.device)
    return (probabilities * steps).sum(dim=-1)


def clipped(boxes: Tensor, size: Size) -> Tensor:
    """Clip boxes, ... x 4, to the input."""
    xs = boxes[..., 0::2].clamp(0, size.width)
    ys = boxes[..., 1::2].clamp(0, size.height)
    return torch.stack([xs, ys], dim=-1).flatten(-2)
