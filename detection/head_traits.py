"""Reads from a built detector which methods fit it: the shapes of its head, and what they mean."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models import ATSSHead, GFLHead, TOODHead, TwoStageDetector, VFNetHead
from mmdet.models.task_modules import AnchorGenerator
from torch import nn

from detection.build import assemble, predicts_masks
from detection.distillation.dense_heads import anchor_generator
from detection.distillation.taps import bbox_forward, first_stage, region_features
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.errors import InvalidValueError
from searchd.domain.head_geometry import HeadGeometry
from searchd.domain.method_fit import Traits
from searchd.messages.reports import FeatureLevel

_HEADS_OF_FAMILIES = {
    ATSSHead: Family.ATSS,
    GFLHead: Family.GFL,
    VFNetHead: Family.VFNET,
    TOODHead: Family.TOOD,
}
"""Heads that are of a family whatever their anchors are; those derived from them are others."""
_TWO_STAGE = {
    (False, False): Family.FASTER_RCNN,
    (False, True): Family.MASK_RCNN,
    (True, False): Family.CASCADE_RCNN,
    (True, True): Family.CASCADE_MASK_RCNN,
}
"""By whether a detector is a cascade, and whether it has a mask head."""
_HEADS = ("rpn_head", "roi_head", "bbox_head")
_SIDE = 256
"""Height and width in pixels of the image on which a RoI head is tried. On a smaller one DetectoRS
cannot pad its maps of stride 32."""
_UNREADABLE = (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError)
"""Errors of RoI heads that read more than the neck's levels and the regions."""


def family_of(model: Any) -> Family:
    """Return the family whose methods fit a detector that mmdet describes: that of its head, or the
    one with the same number of stages, with masks or without, and with anchors or without."""
    if isinstance(model, TwoStageDetector):
        is_cascade = isinstance(model.roi_head.bbox_head, nn.ModuleList)
        return _TWO_STAGE[is_cascade, predicts_masks(model)]
    if type(model.bbox_head) in _HEADS_OF_FAMILIES:
        return _HEADS_OF_FAMILIES[type(model.bbox_head)]
    has_anchors = isinstance(model.bbox_head.prior_generator, AnchorGenerator)
    return Family.RETINANET if has_anchors else Family.FCOS


def mmdet_traits(
    detector: Detector | MmdetDetector, model: Any, levels: Sequence[FeatureLevel]
) -> Traits | None:
    """Return what decides which methods fit a detector that mmdet describes; None for a detector
    that is searched, whose description tells it.

    Args:
        detector: Description of the detector.
        model: The detector, with one stage or two, in eval mode, on any device.
        levels: The levels of its neck.

    Raises:
        InvalidValueError: No method can read its RoI head; see `head_geometry`.
    """
    if isinstance(detector, Detector):
        return None
    widths = tuple(sorted({level.channels for level in levels}))
    return Traits(
        family=family_of(model),
        neck_channels=widths,
        head=_head_shape(model, widths, detector.num_classes),
        anchor_scale=None,
        geometry=head_geometry(model),
        strides=tuple(level.stride for level in levels),
    )


def _head_shape(model: Any, neck_channels: tuple[int, ...], num_classes: int) -> tuple[int, ...]:
    """Return the numbers of `Detector.head_shape`; empty if the head has other layers than that of
    a detector that is searched."""
    if len(neck_channels) != 1:
        return ()
    like = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=num_classes,
        family=family_of(model),
        neck_channels=neck_channels[0],
        **_sizes(model),
    )
    with torch.device("meta"):
        return like.head_shape if _shapes(assemble(like)) == _shapes(model) else ()


def _sizes(model: Any) -> dict[str, int]:
    if isinstance(model, TwoStageDetector):
        head = first_stage(model.roi_head.bbox_head)
        masks = _mask_channels(model) if predicts_masks(model) else {}
        return {"head_channels": head.fc_cls.in_features} | masks
    names = {"tower_channels": "feat_channels", "tower_convs": "stacked_convs"}
    head = model.bbox_head
    return {ours: getattr(head, theirs) for ours, theirs in names.items() if hasattr(head, theirs)}


def _mask_channels(model: Any) -> dict[str, int]:
    """Return the width of the mask head; nothing of one that is built of other layers."""
    width = getattr(first_stage(model.roi_head.mask_head), "conv_out_channels", None)
    return {} if width is None else {"mask_channels": width}


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {
        name: value.shape
        for name, value in model.state_dict().items()
        if name.split(".")[0] in _HEADS
    }


@torch.no_grad()
def head_geometry(model: Any) -> HeadGeometry:
    """Return the geometry of a detector's head.

    Args:
        model: A one-stage or two-stage detector of mmdet in eval mode, on any device.

    Raises:
        InvalidValueError: Its RoI head reads more than the neck and the regions, so that no method
            can read it. The message says what failed.
    """
    is_two_stage = isinstance(model, TwoStageDetector)
    dense = model.rpn_head if is_two_stage else model.bbox_head
    anchors = anchor_generator(dense)
    parts: dict[str, Any] = {
        "anchors": () if anchors is None else _anchors(anchors),
        "ranges": _ranges(dense),
        "dense_units": _dense_units(dense),
        "largest_distance": getattr(dense, "reg_max", None),
    }
    if is_two_stage:
        parts |= _of_roi_head(model)
    return HeadGeometry(**parts)


def _anchors(generator: Any) -> tuple[tuple[float, float], ...]:
    boxes = torch.cat([level.cpu() for level in generator.base_anchors])
    sides = (boxes[:, 2:] - boxes[:, :2]).double()
    return tuple((round(width, 2), round(height, 2)) for width, height in sides.tolist())


def _ranges(head: Any) -> tuple[float, ...]:
    ends = getattr(head, "regress_ranges", ())
    return tuple(round(float(end), 2) for _, end in ends[:-1])


def _dense_units(head: Any) -> tuple[float, ...]:
    # TOOD has a coder of offsets, and predicts distances without it.
    predicts_distances = getattr(head, "anchor_type", None) == "anchor_free"
    return () if predicts_distances else _units(head.bbox_coder)


def _units(coder: Any) -> tuple[float, ...]:
    if not hasattr(coder, "stds"):  # distances, as FCOS predicts
        return ()
    return tuple(float(unit) for unit in (*coder.means, *coder.stds))


def _of_roi_head(model: Any) -> dict[str, Any]:
    head = model.roi_head
    is_cascade = isinstance(head.bbox_head, nn.ModuleList)
    stages: list[Any] = [*head.bbox_head] if is_cascade else [head.bbox_head]
    extractor = first_stage(head.bbox_roi_extractor)
    return {
        # none of a head that predicts no boxes, as Grid R-CNN's
        "roi_units": tuple(
            unit for stage in stages if stage.with_reg for unit in _units(stage.bbox_coder)
        ),
        "other_scores": stages[0].fc_cls.out_features - stages[0].num_classes,
        "class_agnostic": bool(stages[0].reg_class_agnostic),
        "region_size": _region_size(model),
        "finest_roi_scale": getattr(extractor, "finest_scale", None),
        "mask_region_size": _mask_region_size(head) if head.with_mask else None,
    }


def _mask_region_size(head: Any) -> int | None:
    """Return the cells along a region's side, as a mask head reads it; None if the regions are
    those of the box head, or are read otherwise."""
    layers = getattr(first_stage(head.mask_roi_extractor), "roi_layers", None)
    return None if not layers else int(layers[0].output_size[0])


def _region_size(model: Any) -> int:
    """Return the cells along a region's side, from a forward pass through the RoI head."""
    device = next(model.parameters()).device
    features = model.extract_feat(torch.zeros(1, 3, _SIDE, _SIDE, device=device))
    rois = torch.tensor([[0.0, 0.0, 0.0, _SIDE / 2, _SIDE / 2]], device=device)
    try:
        bbox_forward(model.roi_head, features, rois)
        return region_features(model.roi_head, features, rois).shape[-1]
    except _UNREADABLE as error:
        raise InvalidValueError(
            f"the teacher's {type(model.roi_head).__name__} cannot be read at the student's "
            f"regions ({type(error).__name__}: {error}); a RoI head that reads the neck, the "
            "regions and a semantic branch can teach"
        ) from error
