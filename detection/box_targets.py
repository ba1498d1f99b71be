"""Box coding, assignment and sampling of mmdet, with equal results and without waiting for a GPU.

mmdet's own read a value on the CPU for every object and every image. Sampling has to know how many
priors there are to draw from: it reads that once for a whole batch.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from mmdet.models.task_modules import (
    AssignResult,
    DeltaXYWHBBoxCoder,
    MaxIoUAssigner,
    RandomSampler,
    SamplingResult,
)
from mmengine.structures import InstanceData
from torch import Tensor

_EPSILON = 1e-6
"""Smallest union of two boxes, in square pixels (mmdet's)."""


class BoxCoder(DeltaXYWHBBoxCoder):
    """mmdet's coder, with its constants on the device."""

    @classmethod
    def of(cls, coder: DeltaXYWHBBoxCoder) -> "BoxCoder":
        """Return the coder with the settings of mmdet's."""
        return cls(coder.means, coder.stds, coder.clip_border)

    def encode(self, bboxes: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Return the offsets from boxes to objects, n x 4; both are xyxy."""
        centres, sizes = _centres_and_sizes(bboxes.float())
        to_centres, to_sizes = _centres_and_sizes(gt_bboxes.float())
        offsets = torch.cat([(to_centres - centres) / sizes, torch.log(to_sizes / sizes)], dim=-1)
        mean = _constant(tuple(self.means), offsets.device)
        return offsets.sub_(mean).div_(_constant(tuple(self.stds), offsets.device))

    def decode(
        self,
        bboxes: Tensor,
        pred_bboxes: Tensor,
        max_shape: Any = None,
        wh_ratio_clip: float = 16 / 1000,
    ) -> Tensor:
        """Return the boxes at offsets, n x 4K, clipped to `max_shape` (height, width)."""
        if pred_bboxes.ndim != 2 or not len(pred_bboxes):
            decoded: Tensor = super().decode(bboxes, pred_bboxes, max_shape, wh_ratio_clip)
            return decoded
        per_box = pred_bboxes.shape[1] // 4
        deltas = pred_bboxes.reshape(-1, 4)
        mean, std = (_constant(tuple(each), deltas.device) for each in (self.means, self.stds))
        offsets = deltas * std.to(deltas.dtype) + mean.to(deltas.dtype)
        rois = bboxes.repeat(1, per_box).reshape(-1, 4)
        centres, sizes = (rois[:, :2] + rois[:, 2:]) * 0.5, rois[:, 2:] - rois[:, :2]
        limit = float(np.abs(np.log(wh_ratio_clip)))
        centres = centres + sizes * offsets[:, :2]
        sizes = sizes * offsets[:, 2:].clamp(min=-limit, max=limit).exp()
        boxes = torch.cat([centres - sizes * 0.5, centres + sizes * 0.5], dim=-1)
        if self.clip_border and max_shape is not None:
            boxes[..., 0::2].clamp_(min=0, max=max_shape[1])
            boxes[..., 1::2].clamp_(min=0, max=max_shape[0])
        return boxes.reshape(len(pred_bboxes), -1)


def can_assign(assigner: Any, sampler: Any) -> bool:
    """Return whether `assign` and `sample` do what these of mmdet do."""
    return (
        type(assigner) is MaxIoUAssigner
        and type(sampler) is RandomSampler
        and isinstance(assigner.neg_iou_thr, float)
        and assigner.gt_max_assign_all
        and assigner.gpu_assign_thr <= 0
        and assigner.perm_repeat_gt_cfg is None
    )


def assign(
    assigner: MaxIoUAssigner, priors: Tensor, objects: InstanceData, is_ignored: Tensor
) -> AssignResult:
    """Assign objects to priors.

    Args:
        assigner: mmdet's assigner, for its thresholds.
        priors: n x 4, xyxy.
        objects: `bboxes`, xyxy, and `labels`.
        is_ignored: n, bool: priors that are assigned to nothing, not even to background.
    """
    if not len(objects) or not len(priors):
        overlaps = priors.new_zeros(len(priors))
        unused = torch.full_like(is_ignored, -1, dtype=torch.long)
        background = torch.where(is_ignored, -1, 0)
        return AssignResult(len(objects), background, overlaps, labels=unused)
    ious = _ious(objects.bboxes, priors).masked_fill(is_ignored, -1)
    best, argbest = ious.max(dim=0)
    found = torch.where((best >= 0) & (best < assigner.neg_iou_thr), 0, -1)
    found = torch.where(best >= assigner.pos_iou_thr, argbest + 1, found)
    if assigner.match_low_quality:
        found = _with_low_quality(ious, found, assigner.min_pos_iou)
    labels = objects.labels[(found - 1).clamp(min=0)]
    return AssignResult(len(objects), found, best, labels=torch.where(found > 0, labels, -1))


def sample(
    sampler: RandomSampler,
    priors: Sequence[Tensor],
    objects: Sequence[InstanceData],
    assigned: Sequence[AssignResult],
) -> list[SamplingResult]:
    """Sample positive and negative priors of each image of a batch.

    Draws from torch's global generator as mmdet does, image by image.
    """
    with_objects = [
        _add_objects(*each) if sampler.add_gt_as_proposals else (each[0], len(each[0]))
        for each in zip(priors, objects, assigned, strict=True)
    ]
    counts = torch.stack(
        [torch.stack([(a.gt_inds > 0).sum(), (a.gt_inds == 0).sum()]) for a in assigned]
    ).tolist()  # the wait
    results = []
    for (own, num_own), each, found, count in zip(
        with_objects, objects, assigned, counts, strict=True
    ):
        positive = _chosen(found.gt_inds > 0, count[0], int(sampler.num * sampler.pos_fraction))
        wanted = sampler.num - len(positive)
        if sampler.neg_pos_ub >= 0:
            wanted = min(wanted, int(sampler.neg_pos_ub * max(1, len(positive))))
        negative = _chosen(found.gt_inds == 0, count[1], wanted)
        flags = (torch.arange(len(own), device=own.device) < len(own) - num_own).byte()
        results.append(SamplingResult(positive, negative, own, each.bboxes, found, flags))
    return results


def positive_places(sampled: Sequence[Any]) -> Tensor:
    """Return the places of the positives among the regions of a batch, whose images follow each
    other, each with its positives first."""
    places, start = [], 0
    for each in sampled:
        end = start + len(each.pos_priors)
        places.append(torch.arange(start, end, device=each.pos_priors.device))
        start = end + len(each.neg_priors)
    return torch.cat(places)


def _add_objects(
    priors: Tensor, objects: InstanceData, assigned: AssignResult
) -> tuple[Tensor, int]:
    """Return the priors after the objects, and the number of those that are no objects."""
    if not len(objects):
        return priors, len(priors)
    assigned.add_gt_(objects.labels)
    return torch.cat([objects.bboxes, priors]), len(priors)


def _chosen(is_candidate: Tensor, num_candidates: int, num_wanted: int) -> Tensor:
    """Return the indices of candidates in ascending order, at most `num_wanted` random ones."""
    indices = torch.nonzero_static(is_candidate, size=num_candidates).squeeze(1)
    if num_candidates <= num_wanted:
        return indices
    drawn = torch.randperm(num_candidates)[:num_wanted]  # on the CPU, as in mmdet
    if indices.is_cuda:
        drawn = drawn.pin_memory().to(indices.device, non_blocking=True)
    return indices[drawn].sort().values


def _with_low_quality(ious: Tensor, found: Tensor, min_iou: float) -> Tensor:
    """Assign each object to the priors that overlap it most, the last object if there are
    several."""
    most = ious.max(dim=1, keepdim=True).values
    numbers = torch.arange(1, len(ious) + 1, device=ious.device)[:, None]
    matched = torch.where((ious == most) & (most >= min_iou), numbers, 0).max(dim=0).values
    return torch.where(matched > 0, matched, found)


def _ious(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of every pair, g x n."""
    areas, other_areas = (
        (each[:, 2] - each[:, 0]) * (each[:, 3] - each[:, 1]) for each in (boxes, others)
    )
    low = torch.max(boxes[:, None, :2], others[None, :, :2])
    high = torch.min(boxes[:, None, 2:], others[None, :, 2:])
    sides = (high - low).clamp(min=0)
    overlap = sides[..., 0] * sides[..., 1]
    union = areas[:, None] + other_areas[None] - overlap
    return overlap / union.clamp(min=_EPSILON)


def _centres_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) * 0.5, boxes[..., 2:] - boxes[..., :2]


@cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[None]
