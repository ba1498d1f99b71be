"""RetinaNet and FCOS, as in mmdet's `retinanet_r50_fpn` and the FCOS configs that its authors
recommend (`fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou`)."""

from math import gcd
from typing import Any

from mmdet.models import FCOS, RetinaNet

from detection.families.blocks import box_coder, cross_entropy, max_iou_assigner, nms
from searchd.domain.detector import Detector

GROUPS = 32
"""Number of groups of FCOS's GroupNorm, if the towers are wide enough."""
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
            "norm_cfg": {
                "type": "GN",
                "num_groups": norm_groups(detector.tower_channels),
                "requires_grad": True,
            },
            "loss_bbox": {"type": "GIoULoss", "loss_weight": 1.0},
            "loss_centerness": cross_entropy(sigmoid=True),
        },
        "train_cfg": _distillation(detector),
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
        "stacked_convs": detector.tower_convs,
        "loss_cls": {
            "type": "FocalLoss",
            "use_sigmoid": True,
            "gamma": 2.0,
            "alpha": 0.25,
            "loss_weight": 1.0,
        },
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
