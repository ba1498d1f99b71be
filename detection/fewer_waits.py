"""Lets Faster and Mask R-CNN compute their losses with few waits for a GPU.

mmdet reads values on the CPU about forty times for each image of a training step, and a GPU idles
at each. Inside `fewer_waits` the detector's methods are replaced by ones that compute the same, to
the bit on a CPU, and wait once to sample anchors, once for the NMS of each image, once to sample
proposals and once to pool them. A mask head also waits for what it cuts out of the objects' masks,
which stay on the CPU. Detectors with other parts keep mmdet's methods.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from mmcv.ops.nms import NMSop
from mmdet.models.dense_heads import RPNHead
from mmdet.models.losses import CrossEntropyLoss, L1Loss
from mmdet.models.losses.smooth_l1_loss import l1_loss
from mmdet.models.roi_heads import SingleRoIExtractor, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmdet.models.utils import images_to_levels, unpack_gt_instances
from mmengine.structures import InstanceData
from torch import Tensor

from detection.box_targets import BoxCoder, assign, can_assign, positive_places, sample

MAX_NMS_BOXES = 10_000
"""Number of boxes from which mmcv splits an NMS by level."""


@contextmanager
def fewer_waits(student: Any, teachers: Iterable[Any] = ()) -> Iterator[None]:
    """Inside the context, a student's losses, and what is read of teachers, wait less for a GPU."""
    with ExitStack() as stack:
        for model in (student, *teachers):
            for name in ("bbox_roi_extractor", "mask_roi_extractor"):
                extractor = getattr(getattr(model, "roi_head", None), name, None)
                if type(extractor) is SingleRoIExtractor:
                    stack.enter_context(_replaced(extractor, forward=partial(_pooled, extractor)))
        if _is_known(student):
            for owner, methods in _replacements(student):
                stack.enter_context(_replaced(owner, **methods))
        yield


def _is_known(model: Any) -> bool:
    """Return whether a detector is Faster or Mask R-CNN, with the parts that are computed alike
    here."""
    rpn: Any = getattr(model, "rpn_head", None)
    roi: Any = getattr(model, "roi_head", None)
    if type(rpn) is not RPNHead or type(roi) is not StandardRoIHead:
        return False
    box = roi.bbox_head
    return (
        can_assign(rpn.assigner, rpn.sampler)
        and can_assign(roi.bbox_assigner, roi.bbox_sampler)
        and rpn.train_cfg["allowed_border"] < 0
        and type(box).loss is BBoxHead.loss
        and type(box).loss_and_target is BBoxHead.loss_and_target
        and not (box.reg_class_agnostic or box.custom_activation)
        and type(rpn.loss_cls) is type(box.loss_cls) is CrossEntropyLoss
        and rpn.use_sigmoid_cls
        and all(_is_known_head(head) for head in (rpn, box))
    )


def _is_known_head(head: Any) -> bool:
    coder = head.bbox_coder
    return (
        type(head.loss_bbox) is L1Loss
        and not head.reg_decoded_bbox
        and type(coder) is DeltaXYWHBBoxCoder
        and not (coder.add_ctr_clamp or coder.use_box_type)
    )


def _replacements(model: Any) -> list[tuple[Any, dict[str, Any]]]:
    rpn, roi = model.rpn_head, model.roi_head
    box = roi.bbox_head
    return [
        (
            rpn,
            {
                "bbox_coder": BoxCoder.of(rpn.bbox_coder),
                "get_targets": partial(_anchor_targets, rpn),
                "_bbox_post_process": partial(_proposals, rpn, rpn._bbox_post_process),
            },
        ),
        (rpn.loss_bbox, {"forward": partial(_l1, rpn.loss_bbox)}),
        (rpn.loss_cls, {"cls_criterion": partial(_binary, rpn.loss_cls.cls_criterion)}),
        (roi, {"loss": partial(_roi_loss, roi)}),
        (
            box,
            {
                "bbox_coder": BoxCoder.of(box.bbox_coder),
                "loss_and_target": partial(_box_loss, box),
            },
        ),
        (box.loss_bbox, {"forward": partial(_l1, box.loss_bbox)}),
    ]


def _anchor_targets(
    rpn: Any,
    anchors: Sequence[Sequence[Tensor]],
    valid: Sequence[Sequence[Tensor]],
    objects: Sequence[InstanceData],
    metas: Sequence[Any],
    ignored: Any = None,
    **_options: Any,
) -> tuple[Any, ...]:
    """Replace `AnchorHead.get_targets`: anchors outside the batch are ignored, not left out."""
    del metas, ignored  # no batch of this project has objects to ignore
    flat = [torch.cat(tuple(levels)) for levels in anchors]
    assigned = [
        assign(rpn.assigner, own, found, ~torch.cat(tuple(levels)).bool())
        for own, found, levels in zip(flat, objects, valid, strict=True)
    ]
    sampled = sample(rpn.sampler, flat, objects, assigned)
    targets = [_targets(rpn, own, found) for own, found in zip(flat, sampled, strict=True)]
    sizes = [len(level) for level in anchors[0]]
    per_level = [images_to_levels(list(each), sizes) for each in zip(*targets, strict=True)]
    return (*per_level, sum(found.avg_factor for found in sampled))


def _targets(rpn: Any, anchors: Tensor, sampled: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return labels, their weights, box targets and their weights of one image's anchors."""
    labels = anchors.new_full((len(anchors),), rpn.num_classes, dtype=torch.long)
    label_weights = anchors.new_zeros(len(anchors))
    boxes, box_weights = torch.zeros_like(anchors), torch.zeros_like(anchors)
    positive = sampled.pos_inds
    if len(positive):
        boxes[positive] = rpn.bbox_coder.encode(sampled.pos_priors, sampled.pos_gt_bboxes)
        box_weights[positive] = 1.0
        labels[positive] = sampled.pos_gt_labels
        weight = rpn.train_cfg["pos_weight"]
        label_weights[positive] = 1.0 if weight <= 0 else weight
    label_weights[sampled.neg_inds] = 1.0
    return labels, label_weights, boxes, box_weights


def _proposals(
    rpn: Any,
    original: Callable[..., InstanceData],
    results: InstanceData,
    cfg: Any,
    rescale: bool = False,
    with_nms: bool = True,
    img_meta: Any = None,
) -> InstanceData:
    """Replace `RPNHead._bbox_post_process`: boxes without area, and those beyond the largest
    number, stay among the proposals, and are marked as not valid."""
    boxes, scores = results.bboxes, results.scores
    is_plain = cfg.nms.get("type") == "nms" and set(cfg.nms) <= {"type", "iou_threshold"}
    if rescale or not is_plain or not 0 < len(boxes) < MAX_NMS_BOXES or not rpn.training:
        return original(results, cfg, rescale, with_nms, img_meta)
    sides = boxes[:, 2:] - boxes[:, :2]
    is_valid = (sides > cfg.get("min_bbox_size", -1)).all(dim=1)
    # Levels are moved apart, so that none suppresses another.
    side = torch.where(is_valid[:, None], boxes, 0).max() + 1
    apart = boxes + (results.level_ids.to(boxes) * side)[:, None]
    kept = NMSop.apply(apart, scores, cfg.nms.iou_threshold, 0, 0.0, -1)
    is_valid = is_valid[kept]
    is_valid &= is_valid.cumsum(0) <= cfg.max_per_img
    found = InstanceData(bboxes=boxes[kept], scores=scores[kept])
    found.is_valid = is_valid
    return found


def _roi_loss(
    roi: Any, features: Sequence[Tensor], proposals: Sequence[InstanceData], samples: Sequence[Any]
) -> dict[str, Tensor]:
    """Replace `StandardRoIHead.loss`."""
    objects, _, _ = unpack_gt_instances(list(samples))
    priors = [each.bboxes for each in proposals]
    assigned = [
        assign(roi.bbox_assigner, own, found, ~_is_valid(each))
        for own, found, each in zip(priors, objects, proposals, strict=True)
    ]
    sampled = sample(roi.bbox_sampler, priors, objects, assigned)
    found = roi.bbox_loss(features, sampled)
    losses: dict[str, Tensor] = found["loss_bbox"]
    if roi.with_mask:
        losses |= roi.mask_loss(features, sampled, found["bbox_feats"], objects)["loss_mask"]
    return losses


def _is_valid(proposals: InstanceData) -> Tensor:
    if "is_valid" in proposals:
        return proposals.is_valid
    return torch.ones(len(proposals.bboxes), dtype=torch.bool, device=proposals.bboxes.device)


def _box_loss(
    box: Any,
    cls_score: Tensor,
    bbox_pred: Tensor,
    rois: Tensor,
    sampling_results: Sequence[Any],
    rcnn_train_cfg: Any,
) -> dict[str, Any]:
    """Replace `BBoxHead.loss_and_target`, without the accuracy, which nobody reads."""
    del rois
    targets = box.get_targets(sampling_results, rcnn_train_cfg)
    labels, label_weights, boxes, box_weights = targets
    chosen = positive_places(sampling_results)
    losses = {"loss_cls": cls_score.sum() * 0, "loss_bbox": bbox_pred[chosen].sum()}
    if len(labels):
        losses["loss_cls"] = box.loss_cls(
            cls_score, labels, label_weights, avg_factor=float(len(labels))
        )
    if len(chosen):
        of_class = bbox_pred.view(len(bbox_pred), box.num_classes, -1)[chosen, labels[chosen]]
        losses["loss_bbox"] = box.loss_bbox(
            of_class, boxes[chosen], box_weights[chosen], avg_factor=len(boxes)
        )
    return {"loss_bbox": losses, "bbox_targets": targets}


def _pooled(
    extractor: Any, feats: Sequence[Tensor], rois: Tensor, roi_scale_factor: float | None = None
) -> Tensor:
    """Replace `SingleRoIExtractor.forward`."""
    if len(feats) == 1:
        single: Tensor = SingleRoIExtractor.forward(extractor, feats, rois, roi_scale_factor)
        return single
    rois = rois.type_as(feats[0])
    size = extractor.roi_layers[0].output_size
    pooled = feats[0].new_zeros(len(rois), extractor.out_channels, *size)
    levels = extractor.map_roi_levels(rois, len(feats))
    if roi_scale_factor is not None:
        rois = extractor.roi_rescale(rois, roi_scale_factor)
    masks = [levels == level for level in range(len(feats))]
    counts = torch.stack([mask.sum() for mask in masks]).tolist()  # the wait
    for layer, level, mask, count in zip(extractor.roi_layers, feats, masks, counts, strict=True):
        if count:
            indices = torch.nonzero_static(mask, size=count).squeeze(1)
            pooled[indices] = layer(level, rois[indices])
        else:  # so that every level has a gradient, as in mmdet
            pooled += level.sum() * 0.0
    return pooled


def _l1(
    loss: Any,
    pred: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    avg_factor: float | None = None,
    reduction_override: str | None = None,
) -> Tensor:
    """Replace `L1Loss.forward`, which looks first whether all weights are 0."""
    reduction = reduction_override or loss.reduction
    found = l1_loss(pred, target, weight, reduction=reduction, avg_factor=avg_factor)
    return loss.loss_weight * found


def _binary(
    original: Callable[..., Tensor],
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    **options: Any,
) -> Tensor:
    """Replace `binary_cross_entropy`: labels become one-hot by comparison."""
    if pred.dim() == label.dim() or weight is None:
        return original(pred, label, weight, **options)
    classes = torch.arange(pred.shape[-1], device=label.device)
    one_hot = (label[:, None] == classes).long()
    return original(pred, one_hot, weight[:, None].expand_as(pred), **options)


@contextmanager
def _replaced(owner: Any, **values: Any) -> Iterator[None]:
    """Inside the context, an object has other attributes."""
    before = {name: vars(owner)[name] for name in values if name in vars(owner)}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name in values:
            delattr(owner, name)  # so that the class's method is found again
        for name, value in before.items():
            setattr(owner, name, value)
