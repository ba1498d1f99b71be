"""The taps of a two-stage student, whose regions are the sampled proposals of its RoI head.

The taps of a cascade are those of its first stage, whose regions are the RPN's proposals.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from mmdet.models import TwoStageDetector
from torch import Tensor

from detection.box_targets import positive_places
from detection.data.batches import Batch
from detection.distillation.recorded_calls import recorded_calls
from detection.distillation.taps import (
    MatchedPredictions,
    Regions,
    StudentTaps,
    first_stage,
    neck_strides,
)


class TwoStageTaps(StudentTaps):
    """Intermediate results of `TwoStageDetector.loss`."""

    def __init__(
        self,
        model: TwoStageDetector,
        batch: Batch,
        step: int,
        *,
        features: Sequence[Tensor],
        targets: dict[str, Any],
        outputs: dict[str, Tensor],
        embeddings: Tensor,
    ) -> None:
        """
        Args:
            model: The student.
            batch: The student's batch.
            step: Global step of the training, from 0.
            features: The neck's outputs.
            targets: Arguments of the box head's `loss_and_target`.
            outputs: The RoI head's outputs: bbox_feats, cls_score, bbox_pred.
            embeddings: Inputs of the classification layer.
        """
        super().__init__(batch, step)
        self._model = model
        self._features, self._targets = features, targets
        self._outputs, self._embeddings = outputs, embeddings

    @cached_property
    def neck(self) -> dict[int, Tensor]:
        return dict(zip(neck_strides(self._model), self._features, strict=True))

    @cached_property
    def regions(self) -> Regions:
        rois: Tensor = self._targets["rois"]
        sampled = self._targets["sampling_results"]
        background = first_stage(self._model.roi_head.bbox_head).num_classes
        places = positive_places(sampled)
        is_positive = torch.zeros(len(rois), dtype=torch.bool, device=rois.device)
        is_positive[places] = True
        labels = torch.full_like(is_positive, background, dtype=torch.long)
        labels[places] = torch.cat([r.pos_gt_labels for r in sampled])
        return Regions(
            rois=rois.detach(),
            is_positive=is_positive,
            is_compared=is_positive,
            labels=labels,
            places=places,
        )

    @cached_property
    def region_features(self) -> Tensor:
        return self._outputs["bbox_feats"][self.regions.compared_index]

    @cached_property
    def region_levels(self) -> Tensor:
        head = self._model.roi_head
        extractor = first_stage(head.bbox_roi_extractor)
        rois = self.regions.compared
        levels = zip(extractor.roi_layers, self._features, strict=False)  # P6 has no RoI layer
        pooled = [layer(feature, rois) for layer, feature in levels]
        return torch.stack([head.shared_head(p) if head.with_shared_head else p for p in pooled])

    @cached_property
    def embeddings(self) -> Tensor:
        return self._embeddings

    @cached_property
    def class_logits(self) -> Tensor:
        return self._outputs["cls_score"]

    @cached_property
    def box_deltas(self) -> Tensor:
        return self._outputs["bbox_pred"]

    @cached_property
    def matched_predictions(self) -> MatchedPredictions:
        regions, head = self.regions, first_stage(self._model.roi_head.bbox_head)
        chosen = regions.is_positive
        rois = regions.rois[chosen]
        deltas = self._outputs["bbox_pred"][chosen]
        if not head.reg_class_agnostic:
            deltas = deltas.view(len(deltas), head.num_classes, 4)[
                torch.arange(len(deltas), device=deltas.device), regions.labels[chosen]
            ]
        image = rois[:, 0].long()
        sampled = self._targets["sampling_results"]
        return MatchedPredictions(
            logits=self._outputs["cls_score"][chosen],
            boxes=clip_to_images(head.bbox_coder.decode(rois[:, 1:], deltas), image, self.batch),
            image=image,
            object=torch.cat([result.pos_assigned_gt_inds for result in sampled]),
        )


def two_stage_step(model: Any, batch: Batch, step: int) -> tuple[dict[str, Any], TwoStageTaps]:
    """Return mmdet's losses of a batch, and the taps. See `student.student_step`."""
    head = model.roi_head
    bbox_head = first_stage(head.bbox_head)
    with (
        recorded_calls(model, "extract_feat") as features,
        recorded_calls(head, "_bbox_forward") as forwards,
        recorded_calls(bbox_head, "loss_and_target") as targets,
        recorded_calls(bbox_head.fc_cls, "forward") as classified,
    ):
        losses = model.loss(batch.inputs, batch.samples)
    taps = TwoStageTaps(
        model,
        batch,
        step,
        features=features[0].result,
        targets=targets[0].kwargs,
        outputs=forwards[0].result,
        # 16 bits with mixed precision, as inside the head
        embeddings=classified[0].args[0].to(batch.inputs.dtype),
    )
    return losses, taps


def clip_to_images(boxes: Tensor, image: Tensor, batch: Batch) -> Tensor:
    """Clip boxes to their images, padding excluded.

    Args:
        boxes: M x 4, xyxy in pixels of the input.
        image: M, long: image number in the batch.
        batch: The batch with the images.
    """
    shapes = torch.tensor(
        [sample.metainfo["img_shape"][:2] for sample in batch.samples],
        dtype=boxes.dtype,
        device=boxes.device,
    )
    limits = shapes[image][:, [1, 0, 1, 0]]
    return torch.minimum(boxes.clamp(min=0), limits)
