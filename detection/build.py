"""From a `Detector` value to an mmdet Faster R-CNN with FPN, with or without weights.

What the model expects. `model(inputs, data_samples, mode="loss" | "predict" | "tensor")` takes
images that are already normalised and padded: float, N x 3 x H x W, RGB, H and W multiples of 32,
and mmdet `DetDataSample`s whose boxes are xyxy in pixels of that input and whose metainfo holds
`img_shape` (H, W before padding), `batch_input_shape`, `pad_shape`, `scale_factor` and `ori_shape`.
`model.data_preprocessor({"inputs": [...], "data_samples": [...]}, training)` makes them from a list
of raw RGB images (3 x H x W, uint8 or float in 0-255): it normalises by `PIXEL_MEAN` and
`PIXEL_STD`, pads to the right and bottom with zeros, sets the two padded shapes, and moves
everything to the model's device. mmdet's own pipelines read BGR: an exported config sets
`data_preprocessor.bgr_to_rgb`.
"""

from dataclasses import dataclass
from typing import Any

from mmdet.models import FasterRCNN
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from torch import Tensor

from detection.backbones import ArchitectureBackbone
from searchd.domain.architecture import STAGE_STRIDES, Architecture
from searchd.domain.detector import Detector

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""ImageNet mean of R, G and B in 0-255."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet standard deviation of R, G and B in 0-255."""
SIZE_DIVISOR = 32
"""Height and width of a padded batch are multiples of this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Student:
    """A detector with its weights."""

    detector: Detector
    weights: dict[str, Tensor]
    """The whole detector's state_dict, on the CPU."""


def build_detector(detector: Detector) -> FasterRCNN:
    """An mmdet FasterRCNN with random weights, on the CPU, in train mode.

    `torch.manual_seed` makes it reproducible; every call draws new weights.
    """
    model = assemble(detector)
    # mmengine lists the mean of every initialised parameter at level INFO.
    MMLogger.get_current_instance().setLevel("WARNING")
    model.init_weights()
    return model


def load_student(student: Student) -> FasterRCNN:
    """The student's detector with its weights, on the CPU, in train mode.

    Raises:
        RuntimeError: A key or shape of the weights differs from the detector's.
    """
    model = assemble(student.detector)
    model.load_state_dict(student.weights, strict=True)
    return model


def assemble(detector: Detector) -> FasterRCNN:
    """The detector's modules without a defined initialisation (torch's defaults)."""
    # The scope lets mmengine's registry find mmdet's preprocessor, whatever the process's default.
    return MODELS.build(ConfigDict(detector_config(detector), _scope_="mmdet"))


def detector_config(detector: Detector) -> dict[str, Any]:
    """The detector as an mmdet `model` config of plain dicts, lists and numbers.

    mmdet's standard Faster R-CNN with FPN. The backbone's type, `ArchitectureBackbone`, is registered
    by importing `detection.backbones`.
    """
    return {
        "type": FasterRCNN.__name__,
        "data_preprocessor": {
            "type": "DetDataPreprocessor",
            "mean": list(PIXEL_MEAN),
            "std": list(PIXEL_STD),
            "bgr_to_rgb": False,
            "pad_size_divisor": SIZE_DIVISOR,
        },
        "backbone": backbone_config(detector.architecture),
        "neck": {
            "type": "FPN",
            "in_channels": list(detector.architecture.out_channels),
            "out_channels": detector.neck_channels,
            "num_outs": 5,
        },
        "rpn_head": _rpn_head(detector),
        "roi_head": _roi_head(detector),
        "train_cfg": _train_config(detector),
        "test_cfg": _test_config(detector),
    }


def backbone_config(architecture: Architecture) -> dict[str, Any]:
    """The architecture as the config of an `ArchitectureBackbone`."""
    return {
        "type": ArchitectureBackbone.__name__,
        "kind": architecture.kind.value,
        "stem_channels": architecture.stem_channels,
        "stages": [
            [
                {
                    "channels": list(block.channels),
                    "stride": block.stride,
                    "shortcut": block.shortcut.value,
                    "groups": block.groups,
                }
                for block in blocks
            ]
            for blocks in architecture.stages
        ],
    }


def _rpn_head(detector: Detector) -> dict[str, Any]:
    return {
        "type": "RPNHead",
        "in_channels": detector.neck_channels,
        "feat_channels": detector.neck_channels,
        "anchor_generator": {
            "type": "AnchorGenerator",
            "scales": [detector.anchor_scale],
            "ratios": [0.5, 1.0, 2.0],
            "strides": [*STAGE_STRIDES, 64],
        },
        "bbox_coder": _box_coder([1.0, 1.0, 1.0, 1.0]),
        "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
    }


def _roi_head(detector: Detector) -> dict[str, Any]:
    return {
        "type": "StandardRoIHead",
        "bbox_roi_extractor": {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            "out_channels": detector.neck_channels,
            "featmap_strides": list(STAGE_STRIDES),
            "finest_scale": detector.finest_roi_scale,
        },
        "bbox_head": {
            "type": "Shared2FCBBoxHead",
            "in_channels": detector.neck_channels,
            "fc_out_channels": detector.head_channels,
            "roi_feat_size": 7,
            "num_classes": detector.num_classes,
            "bbox_coder": _box_coder([0.1, 0.1, 0.2, 0.2]),
            "reg_class_agnostic": False,
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
            "loss_bbox": {"type": "L1Loss", "loss_weight": 1.0},
        },
    }


def _train_config(detector: Detector) -> dict[str, Any]:
    return {
        "rpn": {
            "assigner": _assigner(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3, low_quality=True),
            "sampler": _sampler(num=256, pos_fraction=0.5, add_gt=False),
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "rpn_proposal": _proposals(2 * detector.num_proposals, detector.num_proposals),
        "rcnn": {
            "assigner": _assigner(pos_iou=0.5, neg_iou=0.5, min_pos_iou=0.5, low_quality=False),
            "sampler": _sampler(num=detector.sampled_rois, pos_fraction=0.25, add_gt=True),
            "pos_weight": -1,
            "debug": False,
        },
    }


def _test_config(detector: Detector) -> dict[str, Any]:
    return {
        "rpn": _proposals(detector.num_proposals, detector.num_proposals),
        "rcnn": {
            "score_thr": 0.05,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": 100,
        },
    }


def _box_coder(stds: list[float]) -> dict[str, Any]:
    return {
        "type": "DeltaXYWHBBoxCoder",
        "target_means": [0.0, 0.0, 0.0, 0.0],
        "target_stds": stds,
    }


def _assigner(
    *, pos_iou: float, neg_iou: float, min_pos_iou: float, low_quality: bool
) -> dict[str, Any]:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": pos_iou,
        "neg_iou_thr": neg_iou,
        "min_pos_iou": min_pos_iou,
        "match_low_quality": low_quality,
        "ignore_iof_thr": -1,
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
    """`before_nms` counts per level, `after_nms` per image (mmdet's ratio: 2 train, 1 test)."""
    return {
        "nms_pre": before_nms,
        "max_per_img": after_nms,
        "nms": {"type": "nms", "iou_threshold": 0.7},
        "min_bbox_size": 0,
    }
