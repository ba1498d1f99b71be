"""What mmdet calls the families of this project, and where their checkpoints show the classes."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError

EXAMPLES = {
    Family.FASTER_RCNN: "faster-rcnn_r50_fpn_1x_coco",
    Family.MASK_RCNN: "mask-rcnn_r50_fpn_1x_coco",
    Family.CASCADE_RCNN: "cascade-rcnn_r50_fpn_1x_coco",
    Family.CASCADE_MASK_RCNN: "cascade-mask-rcnn_r50_fpn_1x_coco",
    Family.RETINANET: "retinanet_r50_fpn_1x_coco",
    Family.FCOS: "fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco",
    Family.ATSS: "atss_r50_fpn_1x_coco",
    Family.GFL: "gfl_r50_fpn_1x_coco",
    Family.VFNET: "vfnet_r50_fpn_1x_coco",
    Family.TOOD: "tood_r50_fpn_1x_coco",
}
"""A config that can be imported, for each family."""
TYPES = {
    "FasterRCNN": Family.FASTER_RCNN,
    "MaskRCNN": Family.MASK_RCNN,
    "CascadeRCNN": Family.CASCADE_RCNN,
    "RetinaNet": Family.RETINANET,
    "FCOS": Family.FCOS,
    "ATSS": Family.ATSS,
    "GFL": Family.GFL,
    "VFNet": Family.VFNET,
    "TOOD": Family.TOOD,
}
"""The family of each class of mmdet's detectors that can be imported."""


class _Biases(NamedTuple):
    """The biases of a classifier."""

    name: str
    per_class: int = 1
    background: int = 0


_CLASSIFIERS = {
    Family.FASTER_RCNN: _Biases("roi_head.bbox_head.fc_cls.bias", background=1),
    Family.MASK_RCNN: _Biases("roi_head.bbox_head.fc_cls.bias", background=1),
    Family.CASCADE_RCNN: _Biases("roi_head.bbox_head.0.fc_cls.bias", background=1),
    Family.CASCADE_MASK_RCNN: _Biases("roi_head.bbox_head.0.fc_cls.bias", background=1),
    Family.RETINANET: _Biases("bbox_head.retina_cls.bias", per_class=9),
    Family.FCOS: _Biases("bbox_head.conv_cls.bias"),
    Family.ATSS: _Biases("bbox_head.atss_cls.bias"),
    Family.GFL: _Biases("bbox_head.gfl_cls.bias"),
    Family.VFNET: _Biases("bbox_head.vfnet_cls.bias"),
    Family.TOOD: _Biases("bbox_head.tood_cls.bias"),
}


def num_classes(family: Family, weights: Mapping[str, Tensor]) -> int:
    """Return the number of classes that a checkpoint was trained for.

    Raises:
        InvalidValueError: The checkpoint has no classifier of this family.
    """
    name, per_class, background = _CLASSIFIERS[family]
    if name not in weights:
        raise InvalidValueError(f"it has no {name}, as a {family} has")
    if weights[name].ndim != 1:
        raise InvalidValueError(f"its {name} has {weights[name].ndim} dimensions instead of 1")
    return len(weights[name]) // per_class - background
