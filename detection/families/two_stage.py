"""Makes configs of Faster, Mask, Cascade and Cascade Mask R-CNN with FPN, as mmdet ships them."""

from typing import Any

from mmdet.models import CascadeRCNN, FasterRCNN, MaskRCNN

from detection.families.blocks import box_coder, cross_entropy, max_iou_assigner, nms
from searchd.domain.architecture import STAGE_STRIDES
from searchd.domain.detector import Detector
from searchd.domain.head_geometry import MASK_CONVS, MASK_REGION_SIZE, REGION_SIZE

CASCADE_IOUS = (0.5, 0.6, 0.7)
"""Smallest IoU of a positive proposal, for each stage."""
CASCADE_LOSS_WEIGHTS = (1.0, 0.5, 0.25)
"""Weight of the loss, for each stage."""
CASCADE_STDS = (
    [0.1, 0.1, 0.2, 0.2],
    [0.05, 0.05, 0.1, 0.1],
    [0.033, 0.033, 0.067, 0.067],
)
"""Scale of box offsets (x, y, w, h), for each stage: later stages correct smaller errors."""


def faster_rcnn(detector: Detector) -> dict[str, Any]:
    """Return Faster R-CNN's config.

    There are twice as many proposals before NMS (per level) as after it (per image).
    """
    box_loss = {"type": "L1Loss", "loss_weight": 1.0}
    head = _bbox_head(detector, CASCADE_STDS[0], box_loss, class_agnostic=False)
    return {
        "type": FasterRCNN.__name__,
        "neck": _fpn(detector),
        "rpn_head": _rpn_head(detector, box_loss),
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": _roi_extractor(detector),
            "bbox_head": head,
        },
        "train_cfg": {
            "rpn": _rpn_training(allowed_border=-1),
            "rpn_proposal": _proposals(2 * detector.num_proposals, detector.num_proposals),
            "rcnn": _rcnn_training(detector, CASCADE_IOUS[0]),
        },
        "test_cfg": _test_config(detector),
    }


def mask_rcnn(detector: Detector) -> dict[str, Any]:
    """Return Mask R-CNN's config: Faster R-CNN's with a mask head, which reads each detected box on
    14 x 14 cells and predicts 28 x 28 pixels for each class.

    Each object is assigned to the proposal that overlaps it most, too.
    """
    config = faster_rcnn(detector)
    config["type"] = MaskRCNN.__name__
    training = config["train_cfg"]["rcnn"]
    training["assigner"]["match_low_quality"] = True
    _add_masks(config, [training], detector)
    return config


def cascade_rcnn(detector: Detector) -> dict[str, Any]:
    """Return Cascade R-CNN's config: three class-agnostic box heads, each refining the previous
    one's boxes."""
    box_loss = {"type": "SmoothL1Loss", "beta": 1.0, "loss_weight": 1.0}
    return {
        "type": CascadeRCNN.__name__,
        "neck": _fpn(detector),
        "rpn_head": _rpn_head(detector, box_loss | {"beta": 1.0 / 9.0}),
        "roi_head": {
            "type": "CascadeRoIHead",
            "num_stages": len(CASCADE_IOUS),
            "stage_loss_weights": list(CASCADE_LOSS_WEIGHTS),
            "bbox_roi_extractor": _roi_extractor(detector),
            "bbox_head": [
                _bbox_head(detector, stds, box_loss, class_agnostic=True) for stds in CASCADE_STDS
            ],
        },
        "train_cfg": {
            "rpn": _rpn_training(allowed_border=0),
            "rpn_proposal": _proposals(2 * detector.num_proposals, 2 * detector.num_proposals),
            "rcnn": [_rcnn_training(detector, iou) for iou in CASCADE_IOUS],
        },
        "test_cfg": _test_config(detector),
    }


def cascade_mask_rcnn(detector: Detector) -> dict[str, Any]:
    """Return Cascade Mask R-CNN's config: Cascade R-CNN's with a mask head for each box head, of
    whose probabilities a mask is the mean."""
    config = cascade_rcnn(detector)
    _add_masks(config, config["train_cfg"]["rcnn"], detector)
    return config


def _add_masks(config: dict[str, Any], trainings: list[dict[str, Any]], detector: Detector) -> None:
    """Add mask heads to a config, and to the training settings of each of its stages."""
    config["roi_head"] |= {
        "mask_roi_extractor": _roi_extractor(detector, MASK_REGION_SIZE),
        "mask_head": {
            "type": "FCNMaskHead",
            "num_convs": MASK_CONVS,
            "in_channels": detector.neck_channels,
            "conv_out_channels": detector.mask_channels,
            "num_classes": detector.num_classes,
            "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True, "loss_weight": 1.0},
        },
    }
    for training in trainings:
        training["mask_size"] = 2 * MASK_REGION_SIZE
    config["test_cfg"]["rcnn"]["mask_thr_binary"] = 0.5


def _fpn(detector: Detector) -> dict[str, Any]:
    """Return the config of an FPN with the levels P2 to P6; P6 is every second cell of P5."""
    return {
        "type": "FPN",
        "in_channels": list(detector.architecture.out_channels),
        "out_channels": detector.neck_channels,
        "num_outs": len(detector.strides),
    }


def _rpn_head(detector: Detector, box_loss: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": detector.neck_channels,
        "feat_channels": detector.neck_channels,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [detector.level_scale],
            "ratios": [0.5, 1.0, 2.0],
            "strides": list(detector.strides),
        },
        "bbox_coder": box_coder([1.0, 1.0, 1.0, 1.0]),
        "loss_cls": cross_entropy(sigmoid=True),
        "loss_bbox": box_loss,
    }


def _roi_extractor(detector: Detector, size: int = REGION_SIZE) -> dict[str, Any]:
    return {
        "type": "SingleRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0},
        "out_channels": detector.neck_channels,
        "featmap_strides": list(STAGE_STRIDES),
        "finest_scale": detector.finest_roi_scale,
    }


def _bbox_head(
    detector: Detector, stds: list[float], box_loss: dict[str, Any], *, class_agnostic: bool
) -> dict[str, Any]:
    return {
        "type": "Shared2FCBBoxHead",
        "in_channels": detector.neck_channels,
        "fc_out_channels": detector.head_channels,
        "roi_feat_size": REGION_SIZE,
        "num_classes": detector.num_classes,
        "bbox_coder": box_coder(stds),
        "reg_class_agnostic": class_agnostic,
        "loss_cls": cross_entropy(sigmoid=False),
        "loss_bbox": box_loss,
    }


def _rpn_training(*, allowed_border: int) -> dict[str, Any]:
    """Return the RPN's training settings.

    Args:
        allowed_border: Pixels that an anchor may reach outside the image; -1 for any number.
    """
    return {
        "assigner": max_iou_assigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3, low_quality=True),
        "sampler": _sampler(num=256, pos_fraction=0.5, add_gt=False),
        "allowed_border": allowed_border,
        "pos_weight": -1,
        "debug": False,
    }


def _rcnn_training(detector: Detector, iou: float) -> dict[str, Any]:
    return {
        "assigner": max_iou_assigner(pos_iou=iou, neg_iou=iou, min_pos_iou=iou, low_quality=False),
        "sampler": _sampler(num=detector.sampled_rois, pos_fraction=0.25, add_gt=True),
        "pos_weight": -1,
        "debug": False,
    }


def _test_config(detector: Detector) -> dict[str, Any]:
    return {
        "rpn": _proposals(detector.num_proposals, detector.num_proposals),
        "rcnn": {"score_thr": 0.05, "nms": nms(0.5), "max_per_img": 100},
    }


def _sampler(*, num: int, pos_fraction: float, add_gt: bool) -> dict[str, Any]:
    return {
        "type": "RandomSampler",
        "num": num,
        "pos_fraction": pos_fraction,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": add_gt,
    }


def _proposals(before_nms: int, after_nms: int) -> dict[str, Any]:
    """Return the RPN's proposal settings; `before_nms` is per level, `after_nms` per image."""
    return {
        "nms_pre": before_nms,
        "max_per_img": after_nms,
        "nms": nms(0.7),
        "min_bbox_size": 0,
    }
