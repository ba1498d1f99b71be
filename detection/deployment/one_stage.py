"""One-stage families from their features to detections, to be traced; see `graph`."""

from collections.abc import Sequence

from mmdet.models import BaseDetector
from torch import Tensor, nn

from detection.deployment.candidates import (
    Candidates,
    Size,
    at,
    best,
    expected_distances,
    from_deltas,
    from_distances,
    joined,
    left_out_unless,
    suppressed,
    without_empty,
)
from detection.deployment.grids import AnchorGrids, centres, in_rows
from detection.deployment.operators import Operators
from detection.deployment.sampled_heads import SampledTood, traceable


class OneStageTail(nn.Module):
    """A one-stage head, with the choice of boxes as in its `test_cfg`."""

    def __init__(self, model: BaseDetector, operators: Operators) -> None:
        super().__init__()
        self.operators = operators
        head = model.bbox_head
        self.head = traceable(head)
        self.config = model.test_cfg
        self.classes: int = head.cls_out_channels
        self.priors, self.coder = head.prior_generator, head.bbox_coder
        is_anchor_based = hasattr(self.priors, "base_anchors")
        self.anchors = AnchorGrids(self.priors) if is_anchor_based else None
        self.largest_distance: int | None = getattr(head, "reg_max", None)
        self.predicts_boxes = isinstance(self.head, SampledTood)

    def forward(self, levels: Sequence[Tensor], size: Size) -> tuple[Candidates, list[Tensor]]:
        """Return the detections, and the outputs of the head before any selection."""
        outputs = self.head(levels)
        per_level = zip(*outputs, strict=True)
        found = [
            self._candidates(number, list(each), size) for number, each in enumerate(per_level)
        ]
        kept = suppressed(
            without_empty(joined(found)),
            self.operators,
            iou=self.config.nms.iou_threshold,
            max_kept=self.config.max_per_img,
        )
        return kept, [tensor for kind in outputs for tensor in kind]

    def _candidates(self, level: int, outputs: list[Tensor], size: Size) -> Candidates:
        logits, regression, *centerness = outputs
        rows = in_rows(logits, self.classes)
        scores = (rows if self.predicts_boxes else rows.sigmoid()).flatten(1)  # B x (cells * K)
        likely = left_out_unless(scores > self.config.score_thr, scores)
        scores, places = best(likely, self.config.nms_pre)
        cells, labels = places // self.classes, places % self.classes
        boxes = self._boxes(level, cells, regression, size)
        if centerness:
            factors = in_rows(centerness[0], 1).sigmoid().squeeze(2).gather(1, cells)
            scores = left_out_unless(scores > 0, scores * factors)
        return Candidates(boxes=boxes, scores=scores, groups=labels)

    def _boxes(self, level: int, cells: Tensor, regression: Tensor, size: Size) -> Tensor:
        values = 4 if self.largest_distance is None else 4 * (self.largest_distance + 1)
        chosen = at(in_rows(regression, values), cells)
        stride = self.priors.strides[level][0]
        if self.predicts_boxes:  # which mmdet does not clip
            return chosen * stride
        if self.anchors is None:
            points = centres(regression, stride, self.priors.offset)
            return from_distances(points[cells], chosen, size)
        anchors = self.anchors(level, regression)[cells]
        if self.largest_distance is None:
            return from_deltas(anchors, chosen, self.coder.stds, size)
        middles = (anchors[..., :2] + anchors[..., 2:]) / 2
        distances = expected_distances(chosen, self.largest_distance) * stride
        return from_distances(middles, distances, size)
