"""Small detectors of every family and block kind that find something without training."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from mmdet.models import (
    ATSS,
    GFL,
    TOOD,
    BaseDetector,
    CascadeRCNN,
    FasterRCNN,
    MaskRCNN,
    RetinaNet,
    VFNet,
)
from numpy.typing import NDArray
from onnx import ModelProto, load_from_string

from detection.build import Student, build_detector, load_student
from detection.deployment.exported import Pixels, Request
from detection.deployment.onnx_format import traced as trace
from searchd.domain.architecture import Architecture, BlockKind, with_implied_shortcuts
from searchd.domain.detector import Detector, Family
from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution

NAMES = ("circle", "square", "triangle")
SMALL = Resolution(96, 80)
_MANY_BOXES = {Family.GFL, Family.VFNET, Family.TOOD}
"""Families whose boxes overlap much although they are not trained."""
_traced: dict[tuple[str, Resolution | None], bytes] = {}
"""ONNX graphs of the detectors of this module, by their description and the size."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A block kind, and the groups of its 3x3 convolution."""

    kind: BlockKind
    groups: int = 1

    def __str__(self) -> str:
        return "grouped" if self.groups > 1 else self.kind.value


KINDS = (
    Kind(BlockKind.BASIC),
    Kind(BlockKind.BOTTLENECK),
    Kind(BlockKind.BOTTLENECK, groups=4),
    Kind(BlockKind.INVERTED_RESIDUAL),
)
_WIDTHS: dict[BlockKind, list[tuple[int, ...]]] = {
    BlockKind.BASIC: [(8, 8), (12, 12), (16, 16), (16, 16)],
    BlockKind.BOTTLENECK: [(8, 8, 16), (8, 8, 16), (16, 16, 24), (16, 16, 24)],
    BlockKind.INVERTED_RESIDUAL: [(8, 8), (16, 12), (24, 16), (24, 16)],
}


def architecture(kind: Kind) -> Architecture:
    """One block in each stage."""
    widths = [[each] for each in _WIDTHS[kind.kind]]
    return with_implied_shortcuts(kind.kind, widths, groups=kind.groups, stem_channels=8)


@cache
def student(family: Family, kind: Kind = KINDS[0]) -> Student:
    """A detector whose random classifiers find a lot."""
    torch.manual_seed(0)
    detector = Detector(
        architecture=architecture(kind),
        num_classes=len(NAMES),
        family=family,
        neck_channels=16,
        head_channels=32,
        mask_channels=16,
        tower_channels=16,
        tower_convs=1,
        anchor_scale=4,
        finest_roi_scale=8,
        num_proposals=50,
    )
    model = build_detector(detector)
    for layer in _classifiers(model):
        # Scores of overlapping boxes must not be equal, as they are at 1.
        torch.nn.init.normal_(layer.weight, std=0.3 if family in _MANY_BOXES else 1.0)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):  # 0 would be left out of graphs; no trained one is
            torch.nn.init.normal_(parameter, std=0.1)
    if family is Family.GFL:  # or every box is larger than the image
        _expect_one_stride(model.bbox_head.gfl_reg.bias)
    if family is Family.FCOS:  # negative distances would be boxes without area
        torch.nn.init.normal_(model.bbox_head.conv_reg.bias, mean=2.0, std=0.1)
        # An error relative to a centerness of nearly 0 would say nothing.
        torch.nn.init.normal_(model.bbox_head.conv_centerness.bias, mean=1.0, std=0.1)
    if family.two_stage and kind.kind is BlockKind.INVERTED_RESIDUAL:
        # Its features hardly differ from place to place: scores of proposals would tie.
        torch.nn.init.normal_(model.rpn_head.rpn_cls.weight, std=1.0)
    return Student(detector=detector, weights=model.state_dict())


@torch.no_grad()
def _expect_one_stride(bias: torch.Tensor) -> None:
    """Let a GFL expect each side of a box a stride or two away."""
    bias.view(4, 17)[:, 1] += 5


def model(family: Family, kind: Kind = KINDS[0]) -> BaseDetector:
    """The detector in eval mode."""
    return load_student(student(family, kind)).eval().requires_grad_(False)


def traced_once(built: BaseDetector, request: Request) -> ModelProto:
    """In the place of `onnx_format.traced`, which takes many seconds: trace each detector once."""
    key = (str(built), request.size)
    if key not in _traced:
        _traced[key] = trace(built, request).SerializeToString()
    return load_from_string(_traced[key])


def request(**values: Any) -> Request:
    defaults: dict[str, Any] = {
        "precision": Precision.FP32,
        "size": None,
        "resolution": SMALL,
        "class_names": NAMES,
    }
    return Request(**defaults | values)


def noise(width: int, height: int, *, seed: int = 0) -> Pixels:
    """An image of smooth noise, 1 x 3 x height x width."""
    random = np.random.default_rng(seed)
    coarse: NDArray[np.float32] = random.uniform(0, 255, (1, 3, 8, 8)).astype(np.float32)
    return torch.nn.functional.interpolate(
        torch.from_numpy(coarse), size=(height, width), mode="bilinear"
    ).numpy()


def _classifiers(built: BaseDetector) -> list[Any]:
    match built:
        case CascadeRCNN():
            return [head.fc_cls for head in built.roi_head.bbox_head]
        case FasterRCNN() | MaskRCNN():
            return [built.roi_head.bbox_head.fc_cls]
        case RetinaNet():
            return [built.bbox_head.retina_cls]
        case ATSS():
            return [built.bbox_head.atss_cls]
        case GFL():
            return [built.bbox_head.gfl_cls]
        case VFNet():
            return [built.bbox_head.vfnet_cls]
        case TOOD():
            return [built.bbox_head.tood_cls]
        case _:
            return [built.bbox_head.conv_cls]
