"""Parts of mmdet configs that several families share."""

from typing import Any


def box_coder(stds: list[float]) -> dict[str, Any]:
    """Return a coder of boxes as offsets from anchors or proposals over `stds` (x, y, w, h)."""
    return {
        "type": "DeltaXYWHBBoxCoder",
        "target_means": [0.0, 0.0, 0.0, 0.0],
        "target_stds": stds,
    }


def cross_entropy(*, sigmoid: bool) -> dict[str, Any]:
    return {"type": "CrossEntropyLoss", "use_sigmoid": sigmoid, "loss_weight": 1.0}


def max_iou_assigner(
    *, pos_iou: float, neg_iou: float, min_pos_iou: float, low_quality: bool
) -> dict[str, Any]:
    """Return an assigner by IoU. With `low_quality` each object also gets its best box if that
    has an IoU of `min_pos_iou` or more."""
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": pos_iou,
        "neg_iou_thr": neg_iou,
        "min_pos_iou": min_pos_iou,
        "match_low_quality": low_quality,
        "ignore_iof_thr": -1,
    }


def nms(iou: float) -> dict[str, Any]:
    return {"type": "nms", "iou_threshold": iou}
