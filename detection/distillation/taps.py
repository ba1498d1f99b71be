"""What distillation reads of a student and a teacher, computed once per step.

Joint-DetNAS (004) section 3.2, papers.md 1.8: the student's sampled proposals are given to the
teacher too, so both describe the same regions. Shapes: N sampled RoIs of the whole batch, P of them
positive, C neck channels, K foreground classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from mmdet.models import FasterRCNN
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor

from detection.data.batches import Batch


class Tap(StrEnum):
    """A place of a detector that a method reads.

    Attributes:
        POSITIVE_FEATURES: RoIAlign features of the positive proposals.
        CLASS_LOGITS: Of all sampled RoIs; the background class is last.
        BOX_DELTAS: Of all sampled RoIs, for each class, as the head puts them out.
    """

    POSITIVE_FEATURES = "positive_features"
    CLASS_LOGITS = "class_logits"
    BOX_DELTAS = "box_deltas"


_HEAD_TAPS = frozenset({Tap.CLASS_LOGITS, Tap.BOX_DELTAS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taps:
    """The taps of one detector on one batch; what no method reads may be None."""

    positive_features: Tensor | None = None
    """P x C x 7 x 7."""
    class_logits: Tensor | None = None
    """N x (K + 1)."""
    box_deltas: Tensor | None = None
    """N x 4K."""

    def __getitem__(self, tap: Tap) -> Tensor:
        value: Tensor | None = getattr(self, tap.value)
        assert value is not None, f"{tap} was not asked for"
        return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentStep:
    """A student's detection losses, and its taps on the proposals that it sampled."""

    losses: dict[str, Tensor]
    """loss_rpn_cls, loss_rpn_bbox, loss_cls, loss_bbox: scalars."""
    taps: Taps
    rois: Tensor
    """N x 5: image number in the batch, then xyxy in pixels of the input."""
    is_positive: Tensor
    """N, bool: matched to an object with IoU of at least 0.5."""


def student_step(model: FasterRCNN, batch: Batch) -> StudentStep:
    """`FasterRCNN.loss`, keeping the proposals and head outputs that it throws away.

    Equal to it to the bit under the same torch seed; the samplers draw from torch's global
    generator.

    Args:
        model: In train mode.
        batch: With boxes and labels, on the model's device.
    """
    features = model.extract_feat(batch.inputs)
    objects = [sample.gt_instances for sample in batch.samples]
    metainfo = [sample.metainfo for sample in batch.samples]
    rpn_losses, proposals = _rpn(model, features, objects, metainfo)

    head = model.roi_head
    sampled = [_sample(head, *pair) for pair in zip(proposals, objects, strict=True)]
    rois = bbox2roi([result.priors for result in sampled])
    roi_features = head.bbox_roi_extractor(features[: head.bbox_roi_extractor.num_inputs], rois)
    class_logits, box_deltas = head.bbox_head(roi_features)
    targets = head.bbox_head.loss_and_target(
        class_logits, box_deltas, rois, sampled, head.train_cfg
    )
    is_positive = _positives(sampled, rois.device)
    return StudentStep(
        losses={
            name: _total(value)
            for name, value in (rpn_losses | targets["loss_bbox"]).items()
            if "loss" in name
        },
        taps=Taps(
            positive_features=roi_features[is_positive],
            class_logits=class_logits,
            box_deltas=box_deltas,
        ),
        rois=rois,
        is_positive=is_positive,
    )


@torch.no_grad()
def teacher_taps(
    model: FasterRCNN, inputs: Tensor, step: StudentStep, needed: frozenset[Tap]
) -> Taps:
    """A teacher's taps on a student's proposals; nothing is run that no method reads.

    Args:
        model: In eval mode, with the student's classes.
        inputs: N x 3 x H x W, the student's own.
        step: Where the proposals come from.
        needed: Which taps to compute.
    """
    if not needed:
        return Taps()
    extractor, head = model.roi_head.bbox_roi_extractor, model.roi_head.bbox_head
    features = model.extract_feat(inputs)[: extractor.num_inputs]
    if not needed & _HEAD_TAPS:
        return Taps(positive_features=extractor(features, step.rois[step.is_positive]))
    roi_features = extractor(features, step.rois)
    class_logits, box_deltas = head(roi_features)
    return Taps(
        positive_features=roi_features[step.is_positive],
        class_logits=class_logits,
        box_deltas=box_deltas,
    )


def _rpn(
    model: FasterRCNN,
    features: Sequence[Tensor],
    objects: Sequence[InstanceData],
    metainfo: Sequence[dict[str, Any]],
) -> tuple[dict[str, Any], list[InstanceData]]:
    """Losses and proposals; to the RPN every object has label 0."""
    outputs = model.rpn_head(features)
    anonymous = [InstanceData(bboxes=o.bboxes, labels=torch.zeros_like(o.labels)) for o in objects]
    losses = model.rpn_head.loss_by_feat(*outputs, anonymous, metainfo)
    proposals = model.rpn_head.predict_by_feat(
        *outputs, batch_img_metas=metainfo, cfg=model.train_cfg.rpn_proposal
    )
    return losses, proposals


def _sample(head: Any, proposals: InstanceData, objects: InstanceData) -> Any:
    """mmdet's `SamplingResult` of one image: positives first."""
    candidates = InstanceData(priors=proposals.bboxes)
    assigned = head.bbox_assigner.assign(candidates, objects)
    return head.bbox_sampler.sample(assigned, candidates, objects)


def _positives(sampled: Sequence[Any], device: torch.device) -> Tensor:
    flags = [
        torch.arange(len(result.priors), device=device) < len(result.pos_priors)
        for result in sampled
    ]
    return torch.cat(flags)


def _total(value: Tensor | Sequence[Tensor]) -> Tensor:
    """A loss as one scalar; mmdet gives some per pyramid level."""
    if isinstance(value, Tensor):
        return value.mean()
    return torch.stack([level.mean() for level in value]).sum()
