"""The taps of a one-stage student, whose regions are sampled predictions (docs/papers.md 3.5).

Every region has the cell and anchor that predicted it, at which the student's embedding and logits
are read.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import Any

import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.structures import InstanceData
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.dense_heads import (
    predicts_boxes,
    scores_and_boxes,
    tower_convs,
    tower_layers,
)
from detection.distillation.dense_predictions import DensePredictions
from detection.distillation.distribution_distance import by_side
from detection.distillation.predicted_regions import sample_regions
from detection.distillation.recorded_calls import Call, recorded_calls, with_own_items
from detection.distillation.taps import (
    Levels,
    MatchedPredictions,
    Regions,
    StudentTaps,
    Towers,
    neck_strides,
)
from detection.distillation.two_stage import clip_to_images

SAMPLED_REGIONS = 512
"""Default number of regions per image; `train_cfg.sampled_rois` of the model replaces it."""
ROI_SIZE = 7
"""Height and width of region features."""
FINEST_SCALE = 14
"""The scale of the finest level is this number times its stride: 56 pixels at stride 4, as in
mmdet. RoIs with sqrt(area) below twice this scale belong to the finest level."""


class OneStageTaps(StudentTaps):
    """The predictions of a dense head, and the regions sampled from them."""

    def __init__(
        self,
        model: Any,
        batch: Batch,
        step: int,
        *,
        features: Sequence[Tensor],
        outputs: Sequence[Sequence[Tensor]],
        towers: Towers,
        targets: Call,
    ) -> None:
        """
        Args:
            model: The student.
            batch: The student's batch.
            step: Global step of the training, from 0.
            features: The neck's outputs.
            outputs: The head's outputs: class scores and box outputs, each for all levels.
            towers: The maps in the head's towers, see `recorded_towers`; the neck's alone if it
                has none.
            targets: The recorded call of the head's `get_targets`.
        """
        super().__init__(batch, step)
        self._model, self._head = model, model.bbox_head
        self._features, self._outputs, self._towers = features, outputs, towers
        self._targets = targets

    @cached_property
    def neck(self) -> dict[int, Tensor]:
        return dict(zip(neck_strides(self._model), self._features, strict=True))

    @property
    def regions(self) -> Regions:
        return self._sampled[1]

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
        tower = self._towers.classes[-1]
        if len(self._towers.classes) == 1:
            raise AttributeError(f"a {type(self._head).__name__} has no classification tower")
        cells, image = self.regions.cells, self._image
        assert cells is not None  # sample_regions sets them
        found = tower[0].new_zeros(len(image), tower[0].shape[1])
        for number, level in enumerate(tower):
            here = (cells.level == number).nonzero().flatten()
            read = level.flatten(2)[image[here], :, cells.cell[here]]
            found = found.index_copy(0, here, read)
        return found

    @property
    def towers(self) -> Towers:
        if not tower_convs(self._head):
            raise AttributeError(f"a {type(self._head).__name__} has no classification tower")
        return self._towers

    @cached_property
    def class_logits(self) -> Tensor:
        return self._dense.logits[self._image, self._sampled[0]]

    @cached_property
    def box_deltas(self) -> Tensor:
        raise AttributeError("a one-stage head has no box deltas of its own for each class")

    @cached_property
    def matched_predictions(self) -> MatchedPredictions:
        objects = self._matched_objects()  # N x A
        image, place = (objects >= 0).nonzero(as_tuple=True)
        return MatchedPredictions(
            logits=self._dense.logits[image, place],
            boxes=clip_to_images(self._dense.boxes(image, place), image, self.batch),
            image=image,
            object=objects[image, place],
            places=place,
        )

    @cached_property
    def box_distributions(self) -> Tensor:
        if not hasattr(self._head, "integral"):
            raise AttributeError(f"a {type(self._head).__name__} predicts no distributions")
        return by_side(self._outputs[1])

    @cached_property
    def dense_outputs(self) -> tuple[Levels, Levels]:
        return scores_and_boxes(self._head, self._outputs)

    @property
    def dense_head(self) -> Any:
        return self._head

    @property
    def anchors(self) -> Tensor:
        return self._dense.priors

    @property
    def _image(self) -> Tensor:
        """N, long: image number of each region."""
        return self.regions.rois[:, 0].long()

    @cached_property
    def _sampled(self) -> tuple[Tensor, Regions]:
        return sample_regions(
            self._dense,
            self.batch,
            num_classes=self._head.num_classes,
            num_regions=(self._model.train_cfg or {}).get("sampled_rois", SAMPLED_REGIONS),
        )

    @cached_property
    def _dense(self) -> DensePredictions:
        return DensePredictions(self._head, *self.dense_outputs, neck_strides(self._model))

    def _matched_objects(self) -> Tensor:
        """Return the index of the object that each place is trained on, -1 for none: N x A.

        The head's targets are computed again with the objects' numbers in place of their classes;
        those of TOOD depend on the classes, and name the objects by their boxes.
        """
        objects = [sample.gt_instances for sample in self.batch.samples]
        if predicts_boxes(self._head):
            _, labels, _, boxes, _ = self._targets.result
            return _objects_of(torch.cat(labels, dim=1), torch.cat(boxes, dim=1), objects)
        numbered = [
            InstanceData(bboxes=o.bboxes, labels=torch.arange(len(o), device=o.bboxes.device))
            for o in objects
        ]
        args = [
            numbered if _same(arg, objects) else with_own_items(arg) for arg in self._targets.args
        ]
        numbers = _labels(self._head.get_targets(*args, **self._targets.kwargs))
        labels = _by_image(_labels(self._targets.result), len(objects))
        is_matched = labels < self._head.num_classes
        return torch.where(is_matched, _by_image(numbers, len(objects)), -1)


def one_stage_step(model: Any, batch: Batch, step: int) -> tuple[dict[str, Any], OneStageTaps]:
    """Return mmdet's losses of a batch, and the taps. See `student.student_step`."""
    head = model.bbox_head
    with (
        recorded_calls(model, "extract_feat") as features,
        recorded_calls(head, "forward") as outputs,
        recorded_calls(head, "get_targets") as targets,
        recorded_towers(head) as (classes, boxes),
    ):
        losses = model.loss(batch.inputs, batch.samples)
    neck = features[0].result
    taps = OneStageTaps(
        model,
        batch,
        step,
        features=neck,
        outputs=outputs[0].result,
        towers=Towers(
            classes=[neck, *(_results(calls, batch.inputs.dtype) for calls in classes)],
            boxes=[neck, *(_results(calls, batch.inputs.dtype) for calls in boxes)],
        ),
        targets=targets[0],
    )
    return losses, taps


@contextmanager
def recorded_towers(head: Any) -> Iterator[tuple[list[list[Call]], list[list[Call]]]]:
    """Record the calls of every layer of a dense head before its predictors, of classes and of
    boxes; none if it has no such layers. See `tower_layers`."""
    with ExitStack() as stack:
        classes, boxes = (
            [stack.enter_context(recorded_calls(layer, "forward")) for layer in layers]
            for layers in tower_layers(head)
        )
        yield classes, boxes


def _results(calls: Sequence[Call], dtype: torch.dtype) -> list[Tensor]:
    """Return what was computed on each level: in 16 bits with mixed precision, inside the head."""
    return [call.result.to(dtype) for call in calls]


def _same(argument: Any, objects: Sequence[InstanceData]) -> bool:
    """Return whether an argument is the list of the images' objects."""
    return len(argument) == len(objects) and argument[0] is objects[0]


def _labels(targets: Sequence[Any]) -> Sequence[Tensor]:
    """Return the labels of each level among a head's targets: the first that are whole numbers."""
    return next(each for each in targets if each[0].dtype == torch.long)


def _objects_of(labels: Tensor, boxes: Tensor, objects: Sequence[InstanceData]) -> Tensor:
    """Return the index of the first object with the label and the box of each place, -1 for none.

    Args:
        labels: N x A.
        boxes: N x A x 4.
        objects: Objects of each image.
    """
    found = []
    for label, box, known in zip(labels, boxes, objects, strict=True):
        same = (label[:, None] == known.labels) & (box[:, None] == known.bboxes).all(dim=2)
        numbers = torch.arange(len(known), device=label.device).expand_as(same)
        none = torch.full_like(label, len(known))[:, None]
        first = torch.cat([numbers.where(same, none), none], dim=1).amin(dim=1)
        found.append(torch.where(first < len(known), first, -1))
    return torch.stack(found)


def _by_image(levels: Sequence[Tensor], num_images: int) -> Tensor:
    """Targets per level (N x A_l, or FCOS's N * A_l) -> N x A."""
    return torch.cat([level.view(num_images, -1) for level in levels], dim=1)
