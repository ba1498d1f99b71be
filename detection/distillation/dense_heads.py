"""What distillation has to know of mmdet's one-stage heads, whose outputs and layers differ."""

from collections.abc import Sequence
from typing import Any

from mmdet.models import TOODHead, VFNetHead
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor


def scores_and_boxes(
    head: Any, outputs: Sequence[Sequence[Tensor]]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return the class scores and the box outputs of every level, as the head detects by them: of
    VFNet, which in training returns its first boxes too, the final ones.

    Args:
        head: mmdet's head.
        outputs: What its `forward` returned.
    """
    return outputs[0], outputs[-1] if isinstance(head, VFNetHead) else outputs[1]


def predicts_boxes(head: Any) -> bool:
    """Return whether a head's outputs are boxes in strides and probabilities, as those of TOOD, and
    not offsets and logits."""
    return isinstance(head, TOODHead)


def anchor_generator(head: Any) -> AnchorGenerator | None:
    """Return what makes the anchors by which objects are assigned; None of a head without. VFNet
    has anchors for that alone, and predicts boxes from points."""
    priors = getattr(head, "atss_prior_generator", head.prior_generator)
    return priors if isinstance(priors, AnchorGenerator) else None


def tower_convs(head: Any) -> list[Any]:
    """Return the convolutions of a dense head's classification tower.

    There are none if the head has no such tower: `cls_convs` of SSD are its output layers, and TOOD
    has one tower for classes and boxes.
    """
    has_tower = getattr(head, "stacked_convs", 0) and hasattr(head, "cls_convs")
    return list(head.cls_convs) if has_tower else []


def tower_layers(head: Any) -> tuple[list[Any], list[Any]]:
    """Return the layers before the predictors of classes and of boxes: the convolutions of the two
    towers, or of TOOD those that take the maps for either from its one tower; none of others."""
    if predicts_boxes(head):
        return [head.cls_decomp], [head.reg_decomp]
    convs = tower_convs(head)
    return convs, list(head.reg_convs) if convs else []
