"""Computes a detector's outputs before any selection of boxes, to compare detectors."""

from collections.abc import Iterator
from typing import Any

import torch
from mmdet.models import BaseDetector, TwoStageDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn


def raw_outputs(model: BaseDetector, images: Tensor) -> list[tuple[str, Tensor]]:
    """Return named outputs of every part of a detector, before any NMS.

    They are C2 to C5, the neck's levels, the priors (anchors or points), the outputs of the RPN or
    one-stage head, and those of the RoI heads on fixed boxes of several sizes.

    Args:
        model: A detector in eval mode.
        images: N x 3 x H x W, as input of the model's backbone.
    """
    stages = model.backbone(images)
    levels = model.neck(stages)
    two_stage = isinstance(model, TwoStageDetector)
    dense = model.rpn_head if two_stage else model.bbox_head
    sizes = [level.shape[-2:] for level in levels]
    priors = dense.prior_generator.grid_priors(sizes, device=images.device)
    named = [
        ("backbone stages", stages),
        ("neck levels", levels),
        ("anchors or points", priors),
        ("scales of box offsets", _offset_scales(dense)),
        ("RPN or head outputs", dense(levels)),
    ]
    if two_stage:
        heads = model.roi_head.bbox_head
        for head in heads if isinstance(heads, nn.ModuleList) else [heads]:
            named.append(("scales of RoI box offsets", _offset_scales(head)))
        named.append(("RoI head outputs", _roi_outputs(model, levels, images)))
    return [(name, tensor) for name, nested in named for tensor in _tensors(nested)]


def _roi_outputs(model: BaseDetector, levels: tuple[Tensor, ...], images: Tensor) -> Any:
    height, width = images.shape[-2:]
    sizes = torch.tensor([[8, 12], [40, 30], [width - 8, height - 8], [400, 400], [1000, 900]])
    boxes = torch.cat([torch.full((len(sizes), 2), 4), 4 + sizes], dim=1).to(images)  # xyxy
    sample = DetDataSample(metainfo={"img_shape": (height, width)})
    # The boxes of a cascade's later stages depend on the earlier stages' outputs.
    return model.roi_head(
        levels,
        [InstanceData(bboxes=boxes) for _ in images],
        [sample for _ in images],
    )


def _offset_scales(head: nn.Module) -> Tensor:
    """Return the factors of predicted offsets; empty for FCOS, which predicts distances."""
    return torch.tensor(getattr(head.bbox_coder, "stds", ()), dtype=torch.float64)


def _tensors(nested: Any) -> Iterator[Tensor]:
    if isinstance(nested, Tensor):
        yield nested
    else:
        for item in nested:
            yield from _tensors(item)
