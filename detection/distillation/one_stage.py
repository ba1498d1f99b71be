"""The taps of a one-stage student, of which regions have to be made (papers.md 3.5).

G-DetKD (002) section 4.3.2: the student's own predicted boxes are matched to the objects and
sampled, so that a two-stage teacher can be asked about them. Every region remembers the cell and
anchor that predicted it, where the student's embedding and logits are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from mmcv.ops import RoIAlign, nms
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules import MaxIoUAssigner, RandomSampler
from mmengine.structures import InstanceData
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.taps import (
    Call,
    Cells,
    MatchedPredictions,
    Regions,
    StudentTaps,
    listening,
    neck_strides,
)
from detection.distillation.two_stage import clip_to_images

BEFORE_NMS, AFTER_NMS, NMS_IOU = 1000, 2000, 0.7
"""Boxes per level by score, boxes per image, and the overlap at which one is dropped."""
SAMPLED_REGIONS, POSITIVE_FRACTION = 512, 0.25
"""Per image; the first can be set as `train_cfg.sampled_rois` of the model."""
ROI_SIZE = 7
FINEST_SCALE = 14
"""RoIs with sqrt(area) below twice this many times the finest stride belong to the finest level:
56 pixels at stride 4, as in mmdet."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense:
    """All predictions of a dense head, over A = sum of H * W * anchors places of all levels."""

    logits: Tensor
    """N x A x K, or K + 1 with background last (SSD)."""
    deltas: Tensor
    """N x A x 4, as the head puts them out."""
    priors: Tensor
    """A x 4 anchors (xyxy), or A x 2 points, in pixels of the input."""
    cells: Cells
    """Each of A."""
    strides: Tensor
    """A."""


class OneStageTaps(StudentTaps):
    """What a dense head predicted, and the regions sampled from it."""

    def __init__(
        self,
        model: Any,
        batch: Batch,
        step: int,
        *,
        features: Sequence[Tensor],
        outputs: Sequence[Sequence[Tensor]],
        tower: Sequence[Tensor],
        targets: Call,
        assigned: Sequence[Tensor],
    ) -> None:
        """
        Args:
            model: The student.
            batch: What it saw.
            step: Global step of the training.
            features: Of the neck.
            outputs: Of the head: class scores and box deltas, each per level.
            tower: Outputs of the classification tower's last convolution per level; may be empty.
            targets: The head's call of `get_targets`.
            assigned: Per image, the assigner's object number (from 1) of every anchor; empty for
                anchor-free heads.
        """
        super().__init__(batch, step)
        self._model, self._head = model, model.bbox_head
        self._features, self._outputs, self._tower = features, outputs, tower
        self._targets, self._assigned = targets, assigned

    @cached_property
    def neck(self) -> dict[int, Tensor]:
        return dict(zip(neck_strides(self._model), self._features, strict=True))

    @cached_property
    def regions(self) -> Regions:
        cells = self._dense.cells  # built outside of no_grad, since its logits are taps
        with torch.no_grad():
            images = [self._sample(image) for image in range(len(self.batch.samples))]
            places = torch.cat([place for place, *_ in images])
            is_positive = torch.cat([positive for *_, positive in images])
            return Regions(
                rois=torch.cat([rois for _, rois, *_ in images]),
                is_positive=is_positive,
                is_compared=torch.ones_like(is_positive),
                labels=torch.cat([labels for _, _, labels, _ in images]),
                cells=Cells(
                    level=cells.level[places],
                    cell=cells.cell[places],
                    anchor=cells.anchor[places],
                ),
            )

    @cached_property
    def region_features(self) -> Tensor:
        strides = neck_strides(self._model)
        extractor = SingleRoIExtractor(
            roi_layer={"type": "RoIAlign", "output_size": ROI_SIZE, "sampling_ratio": 0},
            out_channels=self._features[0].shape[1],
            featmap_strides=list(strides),
            finest_scale=FINEST_SCALE * strides[0],
        )
        pooled: Tensor = extractor(self._features, self.regions.compared)
        return pooled

    @cached_property
    def region_levels(self) -> Tensor:
        rois = self.regions.compared
        return torch.stack(
            [
                RoIAlign(ROI_SIZE, spatial_scale=1 / stride, sampling_ratio=0)(feature, rois)
                for stride, feature in self.neck.items()
            ]
        )

    @cached_property
    def embeddings(self) -> Tensor:
        cells, image = self._cells, self.regions.rois[:, 0].long()
        flat = [level.flatten(2).transpose(1, 2) for level in self._tower]  # N x H*W x D
        found = flat[0].new_zeros(len(image), flat[0].shape[2])
        for number, level in enumerate(flat):
            here = (cells.level == number).nonzero().flatten()
            found = found.index_copy(0, here, level[image[here], cells.cell[here]])
        return found

    @cached_property
    def class_logits(self) -> Tensor:
        image = self.regions.rois[:, 0].long()
        return self._dense.logits[image, self._place(self._cells)]

    @cached_property
    def box_deltas(self) -> Tensor:
        raise AttributeError("a one-stage head has no box deltas of its own for each class")

    @cached_property
    def matched_predictions(self) -> MatchedPredictions:
        objects = self._matched_objects()  # N x A
        image, place = (objects >= 0).nonzero(as_tuple=True)
        boxes = self._decode(place, self._dense.deltas[image, place])
        return MatchedPredictions(
            logits=self._dense.logits[image, place],
            boxes=clip_to_images(boxes, image, self.batch),
            image=image,
            object=objects[image, place],
        )

    @property
    def _cells(self) -> Cells:
        assert self.regions.cells is not None  # set above
        return self.regions.cells

    @cached_property
    def _dense(self) -> Dense:
        scores, deltas = self._outputs[:2]
        sizes = [tuple(level.shape[-2:]) for level in scores]
        device, dtype = scores[0].device, scores[0].dtype
        priors = self._head.prior_generator.grid_priors(sizes, dtype=dtype, device=device)
        anchors = [len(p) // (h * w) for p, (h, w) in zip(priors, sizes, strict=True)]
        level, cell, anchor, stride = [], [], [], []
        for number, (count, at) in enumerate(zip(anchors, neck_strides(self._model), strict=True)):
            height, width = sizes[number]
            index = torch.arange(height * width * count, device=device)
            level.append(torch.full_like(index, number))
            cell.append(index // count)
            anchor.append(index % count)
            stride.append(torch.full_like(index, at))
        return Dense(
            logits=_flat(scores, anchors),
            deltas=_flat(deltas, anchors),
            priors=torch.cat(list(priors)),
            cells=Cells(level=torch.cat(level), cell=torch.cat(cell), anchor=torch.cat(anchor)),
            strides=torch.cat(stride),
        )

    def _place(self, cells: Cells) -> Tensor:
        """Index in A of each cell and anchor."""
        all_cells = self._dense.cells
        num_levels = int(all_cells.level.max()) + 1
        sizes = torch.bincount(all_cells.level, minlength=num_levels)
        starts = sizes.cumsum(0) - sizes
        anchors = torch.stack(
            [all_cells.anchor[all_cells.level == number].max() + 1 for number in range(num_levels)]
        )
        return starts[cells.level] + cells.cell * anchors[cells.level] + cells.anchor

    def _decode(self, place: Tensor, deltas: Tensor) -> Tensor:
        """Boxes, xyxy in pixels of the input, not clipped; M x 4."""
        head = self._head
        if getattr(head, "norm_on_bbox", False) and head.training:
            # FCOS multiplies by the stride in eval mode only.
            deltas = deltas * self._dense.strides[place][:, None]
        boxes: Tensor = head.bbox_coder.decode(self._dense.priors[place], deltas)
        return boxes

    def _sample(self, image: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Places in A, rois (x 5), labels and positive flags of one image's regions."""
        places, boxes = self._candidates(image)
        candidates = InstanceData(priors=boxes)
        objects = self.batch.samples[image].gt_instances
        assigner = MaxIoUAssigner(0.5, 0.5, min_pos_iou=0.5, match_low_quality=False)
        sampler = RandomSampler(
            num=(self._model.train_cfg or {}).get("sampled_rois", SAMPLED_REGIONS),
            pos_fraction=POSITIVE_FRACTION,
            add_gt_as_proposals=False,
        )
        sampled = sampler.sample(assigner.assign(candidates, objects), candidates, objects)
        chosen = torch.cat([sampled.pos_inds, sampled.neg_inds])
        positive = torch.arange(len(chosen), device=boxes.device) < len(sampled.pos_inds)
        labels = positive.new_full((len(chosen),), self._head.num_classes, dtype=torch.long)
        labels[positive] = sampled.pos_gt_labels
        number = boxes.new_full((len(chosen), 1), image)
        return places[chosen], torch.cat([number, boxes[chosen]], dim=1), labels, positive

    def _candidates(self, image: int) -> tuple[Tensor, Tensor]:
        """The best boxes of an image after NMS: their places in A, and xyxy."""
        dense = self._dense
        scores = self._scores(dense.logits[image])
        best = [
            level[scores[level].topk(min(BEFORE_NMS, len(level))).indices]
            for level in _indices_by_level(dense.cells.level)
        ]
        places = torch.cat(best)
        numbers = torch.full_like(places, image)
        boxes = clip_to_images(
            self._decode(places, dense.deltas[image, places]), numbers, self.batch
        )
        _, kept = nms(boxes, scores[places], NMS_IOU)
        return places[kept[:AFTER_NMS]], boxes[kept[:AFTER_NMS]]

    def _scores(self, logits: Tensor) -> Tensor:
        """The best class's score; A x K(+1) -> A."""
        if logits.shape[1] == self._head.num_classes:
            return logits.sigmoid().amax(dim=1)
        return logits.softmax(dim=1)[:, :-1].amax(dim=1)

    def _matched_objects(self) -> Tensor:
        """N x A: index of the object that each place is trained on, -1 where there is none."""
        if self._assigned:
            return torch.stack(list(self._assigned)) - 1
        points, objects = self._targets.args[:2]
        numbered = [
            InstanceData(bboxes=o.bboxes, labels=torch.arange(len(o), device=o.bboxes.device))
            for o in objects
        ]
        labels = _by_image(self._targets.result[0], len(objects))
        numbers = _by_image(self._head.get_targets(points, numbered)[0], len(objects))
        return torch.where(labels < self._head.num_classes, numbers, -1)


def one_stage_step(model: Any, batch: Batch, step: int) -> tuple[dict[str, Any], OneStageTaps]:
    """mmdet's losses of a batch, and the taps. See `student.student_step`."""
    head = model.bbox_head
    assigner = getattr(head, "assigner", None)
    last_conv = head.cls_convs[-1] if getattr(head, "cls_convs", None) else None
    with (
        listening(model, "extract_feat") as features,
        listening(head, "forward") as outputs,
        listening(head, "get_targets") as targets,
        listening(assigner, "assign") as assigned,
        listening(last_conv, "forward") as tower,
    ):
        losses = model.loss(batch.inputs, batch.samples)
    taps = OneStageTaps(
        model,
        batch,
        step,
        features=features[0].result,
        outputs=outputs[0].result,
        tower=[call.result for call in tower],
        targets=targets[0],
        assigned=[call.result.gt_inds.clamp(min=0) for call in assigned],
    )
    return losses, taps


def _flat(levels: Sequence[Tensor], anchors: Sequence[int]) -> Tensor:
    """Levels of N x anchors*C x H x W -> N x A x C, ordered by level, row, column, anchor."""
    return torch.cat(
        [
            level.permute(0, 2, 3, 1).reshape(len(level), -1, level.shape[1] // count)
            for level, count in zip(levels, anchors, strict=True)
        ],
        dim=1,
    )


def _by_image(levels: Sequence[Tensor], num_images: int) -> Tensor:
    """FCOS's targets, per level image by image -> N x A."""
    return torch.cat([level.view(num_images, -1) for level in levels], dim=1)


def _indices_by_level(level: Tensor) -> list[Tensor]:
    return [(level == number).nonzero().flatten() for number in range(int(level.max()) + 1)]
