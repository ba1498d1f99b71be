"""One-stage families, as in mmdet's `retinanet_r50_fpn`, `atss_r50_fpn`, `gfl_r50_fpn`,
`vfnet_r50_fpn` and `tood_r50_fpn`, and the FCOS configs that its authors recommend
(`fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou`).
"""

from math import gcd
from typing import Any

from mmdet.models import ATSS, FCOS, GFL, TOOD, RetinaNet, VFNet

from detection.families.blocks import box_coder, cross_entropy, max_iou_assigner, nms
from detection.families.tood_epochs import INITIAL_EPOCHS
from searchd.domain.detector import Detector
from searchd.domain.head_geometry import LARGEST_DISTANCE, STAGE_STDS

GROUPS = 32
"""Number of groups of a tower's GroupNorm, if the towers are wide enough."""
INFINITY = 100_000_000
"""mmdet's value for an unbounded distance, in pixels."""


def retinanet(detector: Detector) -> dict[str, Any]:
    """Return RetinaNet's config: P6 is a convolution of C5, P7 one of P6; the head has no norm."""
    return {
        "type": RetinaNet.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_input"},
        "bbox_head": _head(detector)
        | {
            "type": "RetinaHead",
            "anchor_generator": {
                "type": "AnchorGenerator",
                "octave_base_scale": detector.level_scale,
                "scales_per_octave": 3,
                "ratios": [0.5, 1.0, 2.0],
                "strides": list(detector.strides),
            },
            "bbox_coder": box_coder([1.0, 1.0, 1.0, 1.0]),
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
        "train_cfg": {
            "assigner": max_iou_assigner(pos_iou=0.5, neg_iou=0.4, min_pos_iou=0, low_quality=True),
            "sampler": {"type": "PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
            **_distillation(detector),
        },
        "test_cfg": _test_config(nms_iou=0.5),
    }


def fcos(detector: Detector) -> dict[str, Any]:
    """Return FCOS's config: GroupNorm, centre sampling, distances divided by the stride, centerness
    on the box tower, and the GIoU loss; P6 is a convolution of P5, P7 one of P6."""
    return {
        "type": FCOS.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_output", "relu_before_extra_convs": True},
        "bbox_head": _head(detector)
        | {
            "type": "FCOSHead",
            "strides": list(detector.strides),
            "regress_ranges": regress_ranges(detector),
            "norm_on_bbox": True,
            "centerness_on_reg": True,
            "dcn_on_last_conv": False,
            "center_sampling": True,
            "conv_bias": True,
            "norm_cfg": _group_norm(detector),
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0},
            "loss_centerness": cross_entropy(sigmoid=True),
        },
        "train_cfg": _distillation(detector),
        "test_cfg": _test_config(nms_iou=0.6),
    }


def atss(detector: Detector) -> dict[str, Any]:
    """Return ATSS's config: GroupNorm, one square anchor per cell, offsets from it, centerness on
    the box tower, and the GIoU loss; P6 is a convolution of P5, P7 one of P6."""
    return {
        "type": ATSS.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_output"},
        "bbox_head": _head(detector)
        | _square_anchors(detector)
        | {
            "type": "ATSSHead",
            "bbox_coder": box_coder(list(STAGE_STDS[0])),
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
            "loss_centerness": cross_entropy(sigmoid=True),
        },
        "train_cfg": _adaptive_selection(detector),
        "test_cfg": _test_config(nms_iou=0.6),
    }


def gfl(detector: Detector) -> dict[str, Any]:
    """Return GFL's config: as ATSS, but a class score is the IoU that the box is expected to have,
    and the head predicts a distribution over the distance of each side, in strides."""
    quality = {"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0}
    return {
        "type": GFL.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_output"},
        "bbox_head": _head(detector)
        | _square_anchors(detector)
        | {
            "type": "GFLHead",
            "loss_cls": quality,
            "loss_dfl": {"type": "DistributionFocalLoss", "loss_weight": 0.25},
            "reg_max": LARGEST_DISTANCE,
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
        },
        "train_cfg": _adaptive_selection(detector),
        "test_cfg": _test_config(nms_iou=0.6),
    }


def vfnet(detector: Detector) -> dict[str, Any]:
    """Return VFNet's config: as ATSS, but a class score is the IoU that the box is expected to
    have. A first box is predicted, in units of `regress_ranges`; from features sampled at its sides
    and corners, scores and the factors of its final distances are."""
    return {
        "type": VFNet.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_output", "relu_before_extra_convs": True},
        "bbox_head": _head(detector)
        | _square_anchors(detector, center_offset=0.0)
        | {
            "type": "VFNetHead",
            "strides": list(detector.strides),
            "regress_ranges": regress_ranges(detector),
            "center_sampling": False,
            "dcn_on_last_conv": False,
            "use_atss": True,
            "use_vfl": True,
            "loss_cls": {
                "type": "VarifocalLoss",
                "use_sigmoid": True,
                "alpha": 0.75,
                "gamma": 2.0,
                "iou_weighted": True,
                "loss_weight": 1.0,
            },
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.5},
            "loss_bbox_refine": {"type": "GIoULoss", "loss_weight": 2.0},
        },
        "train_cfg": _adaptive_selection(detector),
        "test_cfg": _test_config(nms_iou=0.6),
    }


def tood(detector: Detector) -> dict[str, Any]:
    """Return TOOD's config: one tower with GroupNorm, whose maps are weighed for classes and for
    boxes, scores and boxes that are read at predicted offsets, and, after `INITIAL_EPOCHS`, targets
    that follow from them."""
    activated = {"use_sigmoid": True, "activated": True, "loss_weight": 1.0}
    selection = _adaptive_selection(detector)
    return {
        "type": TOOD.__name__,
        "neck": _fpn(detector) | {"add_extra_convs": "on_output"},
        "bbox_head": _head(detector)
        | _square_anchors(detector)
        | {
            "type": "TOODHead",
            "anchor_type": "anchor_free",
            "bbox_coder": box_coder(list(STAGE_STDS[0])),
            "initial_loss_cls": activated | {"type": "FocalLoss", "gamma": 2.0, "alpha": 0.25},
            "loss_cls": activated | {"type": "QualityFocalLoss", "beta": 2.0},
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 2.0},
        },
        "train_cfg": selection
        | {
            "initial_epoch": INITIAL_EPOCHS,
            "initial_assigner": selection["assigner"],
            "assigner": {"type": "TaskAlignedAssigner", "topk": 13},
            "alpha": 1,
            "beta": 6,
        },
        "test_cfg": _test_config(nms_iou=0.6),
    }


def norm_groups(channels: int) -> int:
    """Return the largest divisor of `GROUPS` that splits the channels evenly into groups of two or
    more: a group of one channel has no variance on a level of one cell."""
    return gcd(GROUPS, channels // 2) if channels % 2 == 0 else 1


def regress_ranges(detector: Detector) -> list[list[float]]:
    """Return each level's smallest and largest distance in pixels from a point to its box's sides.

    The largest distance of a level is `level_scale` times its stride (64, 128, 256 and 512 by
    default); that of the last level is unbounded.
    """
    ends = [detector.level_scale * stride for stride in detector.strides[:-1]]
    return [list(pair) for pair in zip([-1, *ends], [*ends, INFINITY], strict=True)]


def _fpn(detector: Detector) -> dict[str, Any]:
    """Return the config of an FPN with the levels P3 to P7."""
    return {
        "type": "FPN",
        "in_channels": list(detector.architecture.out_channels),
        "out_channels": detector.neck_channels,
        "start_level": 1,
        "num_outs": len(detector.strides),
    }


def _head(detector: Detector) -> dict[str, Any]:
    return {
        "num_classes": detector.num_classes,
        "in_channels": detector.neck_channels,
        "feat_channels": detector.tower_channels,
        "stacked_convs": detector.num_tower_convs,
        "loss_cls": {
            "type": "FocalLoss",
            "use_sigmoid": True,
            "gamma": 2.0,
            "alpha": 0.25,
            "loss_weight": 1.0,
        },
    }


def _square_anchors(detector: Detector, **options: float) -> dict[str, Any]:
    """Return the parts of a head with one square anchor in each cell, and GroupNorm.

    Args:
        detector: The detector.
        options: Further options of the anchors.
    """
    return {
        "norm_cfg": _group_norm(detector),
        "anchor_generator": {
            "type": "AnchorGenerator",
            "ratios": [1.0],
            "octave_base_scale": detector.level_scale,
            "scales_per_octave": 1,
            "strides": list(detector.strides),
            **options,
        },
    }


def _group_norm(detector: Detector) -> dict[str, Any]:
    groups = norm_groups(detector.tower_channels)
    return {"type": "GN", "num_groups": groups, "requires_grad": True}


def _adaptive_selection(detector: Detector) -> dict[str, Any]:
    """Return the training settings of ATSS: the nine anchors of each level that are nearest to an
    object are candidates for it."""
    return {
        "assigner": {"type": "ATSSAssigner", "topk": 9},
        "allowed_border": -1,
        "pos_weight": -1,
        "debug": False,
        **_distillation(detector),
    }


def _test_config(*, nms_iou: float) -> dict[str, Any]:
    return {
        "nms_pre": 1000,
        "min_bbox_size": 0,
        "score_thr": 0.05,
        "nms": nms(nms_iou),
        "max_per_img": 100,
    }


def _distillation(detector: Detector) -> dict[str, int]:
    """Return the settings that `detection.distillation` reads and mmdet ignores."""
    return {"sampled_rois": detector.sampled_rois}
