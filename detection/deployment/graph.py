"""A detector as one function of tensors: from the pixels of images to boxes, scores and labels, and
masks if it finds them.

It computes what mmdet's `predict` computes, in a form that can be traced: every image has the same
number of candidates, those that do not count have the score `LEFT_OUT`, and anchors follow from the
sizes of the features. Thresholds, and how many boxes are kept where, are those of mmdet's config.

Shapes: B images of H x W pixels, D detections per image, masks of M x M cells.
"""

from typing import NamedTuple

import torch
from mmdet.models import BaseDetector, TwoStageDetector
from torch import Tensor, nn
from torch.nn import functional

from detection.build import predicts_masks
from detection.deployment.candidates import Candidates, Size
from detection.deployment.exported import MASKS, OUTPUTS
from detection.deployment.mask_tail import MaskTail
from detection.deployment.one_stage import OneStageTail
from detection.deployment.operators import CUSTOM, Operators
from detection.deployment.two_stage import TwoStageTail
from detection.families import PIXEL_MEAN, PIXEL_STD, SIZE_DIVISOR
from searchd.domain.errors import InvalidValueError


class GraphOutputs(NamedTuple):
    """What a `DetectorGraph` returns."""

    boxes: Tensor
    """B x D x 4, xyxy in pixels of the input, by falling score; 0 after the last detection."""
    scores: Tensor
    """B x D, in [0, 1]; 0 after the last detection of an image."""
    labels: Tensor
    """B x D, int64, in the order of the data set's classes; -1 after the last detection."""
    masks: tuple[Tensor, ...]
    """One, of a detector that finds masks: B x D x M x M, for each of M x M cells of a box the
    probability in [0, 1] that it is of the object; 0 after the last detection. None of others."""
    raw: list[Tensor]
    """Outputs of the one-stage head or the RPN before any selection."""


class DetectorGraph(nn.Module):
    """A detector of any family in the form that is exported."""

    def __init__(self, model: BaseDetector, operators: Operators = CUSTOM) -> None:
        """
        Args:
            model: The detector in eval mode. Its modules are shared, not copied.
            operators: The form of NMS and RoIAlign.
        """
        super().__init__()
        self.backbone, self.neck = model.backbone, model.neck
        tail = TwoStageTail if isinstance(model, TwoStageDetector) else OneStageTail
        self.tail = tail(model, operators)
        self.masks = MaskTail(model, operators) if predicts_masks(model) else None
        self.register_buffer("mean", torch.tensor(PIXEL_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(PIXEL_STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> GraphOutputs:
        """Detect.

        Args:
            images: B x 3 x H x W, float, RGB, 0 to 255.
        """
        height, width = images.shape[-2:]
        levels = self.neck(self.backbone(self._prepared(images)))
        found, raw = self.tail(levels, Size(height=height, width=width))
        masks = () if self.masks is None else (self.masks(levels, found),)
        return GraphOutputs(*_cleared(found), masks, raw)

    def _prepared(self, images: Tensor) -> Tensor:
        """Normalise, and pad with zeros on the right and below."""
        height, width = images.shape[-2:]
        normalised = (images - self.get_buffer("mean")) / self.get_buffer("std")
        return functional.pad(normalised, (0, _missing(width), 0, _missing(height)))


def _missing(side: int) -> int:
    """Return how many pixels a side lacks to a multiple of `SIZE_DIVISOR`.

    Written so that the padded side is a multiple by its form: `-side % SIZE_DIVISOR` is the same,
    but torch's exporter cannot simplify it, and needs several times as long.
    """
    return (side + SIZE_DIVISOR - 1) // SIZE_DIVISOR * SIZE_DIVISOR - side


def output_names(model: BaseDetector) -> tuple[str, ...]:
    """Return the names of what the graph of a detector returns before the raw outputs."""
    return (*OUTPUTS, MASKS) if predicts_masks(model) else OUTPUTS


def check_operators(model: BaseDetector) -> None:
    """Check that a detector has only operators that can be traced.

    Raises:
        InvalidValueError: It has others.
    """
    if any("Deform" in type(module).__name__ for module in model.backbone.modules()):
        raise InvalidValueError(
            "a detector with deformable convolutions cannot be exported as a graph; use "
            "format=mmdet, or search without them"
        )


def _cleared(found: Candidates) -> tuple[Tensor, Tensor, Tensor]:
    counts = found.counts
    return (
        torch.where(counts[..., None], found.boxes, 0.0),
        torch.where(counts, found.scores, 0.0),
        torch.where(counts, found.groups, -1),
    )
