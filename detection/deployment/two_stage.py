"""Faster and Cascade R-CNN from their features to detections, to be traced; see `graph`."""

from collections.abc import Sequence

import torch
from mmdet.models import BaseDetector
from torch import Tensor, nn

from detection.deployment.candidates import (
    Candidates,
    Size,
    at,
    best,
    from_deltas,
    joined,
    left_out_unless,
    suppressed,
    without_empty,
)
from detection.deployment.grids import AnchorGrids, in_rows
from detection.deployment.operators import Operators
from detection.deployment.regions import pooled


class TwoStageTail(nn.Module):
    """RPN and RoI heads, with the choice of boxes as in the detector's `test_cfg`.

    A Faster R-CNN has one RoI head; each further head of a Cascade R-CNN reads the boxes of the one
    before it, and the classes are those of the mean of all heads' logits.
    """

    def __init__(self, model: BaseDetector, operators: Operators) -> None:
        super().__init__()
        self.operators = operators
        self.rpn = model.rpn_head
        self.anchors = AnchorGrids(self.rpn.prior_generator)
        heads, extractors = model.roi_head.bbox_head, model.roi_head.bbox_roi_extractor
        is_cascade = isinstance(heads, nn.ModuleList)
        self.heads = heads if is_cascade else nn.ModuleList([heads])
        self.extractor = extractors[0] if is_cascade else extractors
        self.config = model.test_cfg

    def forward(self, levels: Sequence[Tensor], size: Size) -> tuple[Candidates, list[Tensor]]:
        """Return the detections, and the outputs of the RPN before any selection."""
        outputs = self.rpn(levels)
        proposals = self._proposals(outputs, size)
        found = self._classified(levels, proposals, size)
        config = self.config.rcnn
        iou = config.nms.iou_threshold
        kept = suppressed(found, self.operators, iou=iou, max_kept=config.max_per_img)
        return kept, [tensor for kind in outputs for tensor in kind]

    def _proposals(self, outputs: Sequence[Sequence[Tensor]], size: Size) -> Candidates:
        config = self.config.rpn
        found = [
            self._of_level(number, logits, deltas, size)
            for number, (logits, deltas) in enumerate(zip(*outputs, strict=True))
        ]
        return suppressed(
            without_empty(joined(found)),
            self.operators,
            iou=config.nms.iou_threshold,
            max_kept=config.max_per_img,
        )

    def _of_level(self, level: int, logits: Tensor, deltas: Tensor, size: Size) -> Candidates:
        scores, places = best(in_rows(logits, 1).squeeze(2).sigmoid(), self.config.rpn.nms_pre)
        anchors = self.anchors(level, logits)[places]
        boxes = from_deltas(anchors, at(in_rows(deltas, 4), places), self.rpn.bbox_coder.stds, size)
        return Candidates(boxes=boxes, scores=scores, groups=torch.full_like(places, level))

    def _classified(
        self, levels: Sequence[Tensor], proposals: Candidates, size: Size
    ) -> Candidates:
        """Return a candidate for each proposal and class."""
        num_images, num_proposals = proposals.scores.shape
        regions = proposals.boxes.flatten(0, 1)  # R x 4
        images = torch.arange(num_images, device=regions.device)
        images = images[:, None].expand(num_images, num_proposals).reshape(-1)
        logits: list[Tensor] = []
        for number, head in enumerate(self.heads):
            of_stage, deltas = head(pooled(levels, regions, images, self.extractor, self.operators))
            logits.append(of_stage)
            boxes = from_deltas(
                regions[:, None], deltas.unflatten(1, (-1, 4)), head.bbox_coder.stds, size
            )  # R x K x 4; R x 1 x 4 if the boxes are of all classes
            if number + 1 < len(self.heads):
                regions = boxes[:, 0]
        probabilities = torch.stack(logits).mean(0).softmax(-1)[:, :-1]  # R x K
        return self._of_classes(boxes, probabilities, proposals)

    def _of_classes(
        self, boxes: Tensor, probabilities: Tensor, proposals: Candidates
    ) -> Candidates:
        num_images, num_proposals = proposals.scores.shape
        num_classes = probabilities.shape[1]
        boxes = boxes.expand(-1, num_classes, 4).reshape(num_images, -1, 4)
        scores = probabilities.reshape(num_images, num_proposals, num_classes)
        counts = (scores > self.config.rcnn.score_thr) & proposals.counts[..., None]
        labels = torch.arange(num_classes, device=boxes.device).expand(
            num_images, num_proposals, num_classes
        )
        return Candidates(
            boxes=boxes,
            scores=left_out_unless(counts, scores).flatten(1),
            groups=labels.flatten(1),
        )
