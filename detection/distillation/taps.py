"""The taps of a student and of a teacher: the values that distillation reads. Each is computed when
it is first read, and then cached.

A student's taps come from mmdet's own loss, whose calls `student_step` records, so its losses are
by construction those of plain training. A teacher is read at the student's regions
(docs/papers.md 0.2, 1.8, 3.5). Attributes are named as in
`searchd.domain.distillation_methods.Tap`.

Shapes: N regions of the whole batch, P of them compared, C neck channels, K foreground classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from detection.data.batches import Batch
from detection.distillation.alignment import aligned, to_other_input
from detection.distillation.distribution_distance import by_side
from detection.distillation.entered_heads import entered
from detection.distillation.recorded_calls import recorded_calls
from searchd.domain.method_description import Tap

_HEAD_TAPS = frozenset({Tap.EMBEDDINGS, Tap.CLASS_LOGITS, Tap.BOX_DELTAS})
"""Taps of a teacher that need its RoI head."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """The places of a one-stage head that predicted regions; each attribute is N, long."""

    level: Tensor
    """Index of the neck level, from 0."""
    cell: Tensor
    """y * width + x on that level."""
    anchor: Tensor
    """Index of the anchor at that cell; 0 for anchor-free heads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """The boxes at which student and teacher are compared. No gradient flows to them."""

    rois: Tensor
    """N x 5: image number in the batch, then xyxy in pixels of the input."""
    is_positive: Tensor
    """N, bool: whether it is matched to an object with an IoU of at least 0.5."""
    is_compared: Tensor
    """N, bool: whether its features are compared: positives of a two-stage student, all regions of
    a one-stage student (docs/papers.md 3.1)."""
    labels: Tensor
    """N, long: class of the matched object; K for none."""
    cells: Cells | None = None
    """The predicting cells; None for a two-stage student."""
    places: Tensor | None = None
    """P, long: the places where `is_compared` holds, if they are known."""

    @property
    def compared_index(self) -> Tensor:
        """The index of what is compared. With known places it does not wait for a GPU."""
        return self.is_compared if self.places is None else self.places

    @property
    def compared(self) -> Tensor:
        """The rois whose features are compared, P x 5."""
        return self.rois[self.compared_index]


Levels = Sequence[Tensor]
"""A map of each level, N x C x H x W."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Towers:
    """The maps in the towers of a one-stage head: the neck's, and those after each convolution."""

    classes: Sequence[Levels]
    boxes: Sequence[Levels]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedPredictions:
    """Predictions of the M anchors, points or proposals that are assigned to an object."""

    logits: Tensor
    """M x K (sigmoid heads) or M x (K + 1) (softmax heads, background last)."""
    boxes: Tensor
    """M x 4, xyxy in pixels of the input; gradient flows to the head's deltas."""
    image: Tensor
    """M, long: image number in the batch."""
    object: Tensor
    """M, long: index of the object in `batch.samples[image].gt_instances`."""
    places: Tensor | None = None
    """M, long: index of the anchor or point among those of all levels; None for a two-stage
    student."""


class Taps:
    """Taps of one detector on one batch. Reading an attribute computes it, once."""

    @property
    def computed(self) -> frozenset[Tap]:
        """The taps that have been computed so far."""
        return frozenset(tap for tap in Tap if tap.value in vars(self))


class StudentTaps(Taps, ABC):
    """A student's taps. Gradient flows through all of them except the regions."""

    def __init__(self, batch: Batch, step: int) -> None:
        self.batch = batch
        """The student's batch: normalised and padded inputs, and the objects of every image."""
        self.step = step
        """Global step of the training, from 0."""

    @property
    @abstractmethod
    def neck(self) -> dict[int, Tensor]:
        """Features of each level by its stride, N x C x H/stride x W/stride."""

    @property
    @abstractmethod
    def regions(self) -> Regions:
        """The regions at which both detectors are compared."""

    @property
    @abstractmethod
    def region_features(self) -> Tensor:
        """Features of the compared regions, P x C x 7 x 7."""

    @property
    @abstractmethod
    def region_levels(self) -> Tensor:
        """RoIAlign of the compared regions on each of the L levels that the student's head uses,
        L x P x C x 7 x 7 (docs/papers.md 3.1)."""

    @property
    @abstractmethod
    def embeddings(self) -> Tensor:
        """Output of the last layer before the classification layer, N x D. For a one-stage head it
        is the classification tower's last convolution at the region's cell, with D channels for all
        anchors of the cell."""

    @property
    @abstractmethod
    def class_logits(self) -> Tensor:
        """Class logits, N x (K + 1) with background last; N x K for one-stage heads."""

    @property
    @abstractmethod
    def box_deltas(self) -> Tensor:
        """Box deltas, N x 4K, class by class."""

    @property
    @abstractmethod
    def matched_predictions(self) -> MatchedPredictions:
        """The head's predictions where it is trained to find an object."""

    @property
    def box_distributions(self) -> Tensor:
        """Logits of the distributions over 0 to D strides, N x A x 4 x (D + 1), of all A anchors:
        left, top, right, bottom."""
        raise AttributeError("the student's head predicts no distributions")

    @property
    def towers(self) -> Towers:
        """What passes through the towers of a one-stage student."""
        raise AttributeError("the student's head has no towers")

    @property
    def dense_outputs(self) -> tuple[Levels, Levels]:
        """Class scores and box outputs of a one-stage student on every level, N x A*K x H x W and
        N x A*4 x H x W; of GFL, a distribution instead of each of the four."""
        raise AttributeError("a two-stage student has no dense head")

    @property
    def dense_head(self) -> Any:
        """A one-stage student's head."""
        raise AttributeError("a two-stage student has no dense head")

    @property
    def anchors(self) -> Tensor:
        """The anchors of a one-stage student in the same order, A x 4, xyxy in pixels of the
        input."""
        raise AttributeError("the student's head has no anchors that predict boxes")


class TeacherTaps(Taps):
    """A teacher's taps at a student's cells and regions, without gradient.

    A tap is computed only if it is read.

    The teacher may see the images at another size (docs/papers.md 2.8). It is still read at the
    student's cells and regions, converted to its own input: boxes, masks and predictions are in the
    student's pixels. Only `own_neck` is on the teacher's cells, for methods that compare whole
    maps; see `LevelAdapters`.

    Attributes:
        batch: The teacher's batch.
    """

    def __init__(
        self, model: Any, student: StudentTaps, needed: frozenset[Tap], batch: Batch | None = None
    ) -> None:
        """
        Args:
            model: The teacher in eval mode, with the student's classes.
            student: Taps of the student, with the regions and cells.
            needed: The taps that will be read. They decide whether features of all regions are
                needed, or only those of the compared ones.
            batch: The student's images, in the same order and flipped alike, as the teacher sees
                them; None for the student's batch.
        """
        self._model, self._student, self._needed = model, student, needed
        self.batch = batch or student.batch

    @cached_property
    def own_neck(self) -> dict[int, Tensor]:
        """Features of each level by its stride, N x C x H/stride x W/stride, at the size at which
        the teacher sees the images."""
        return dict(zip(neck_strides(self._model), self._features, strict=True))

    @cached_property
    def neck(self) -> dict[int, Tensor]:
        """`own_neck` on the student's cells.

        For a teacher that sees the images at another size, these are the levels that the student's
        neck has too, at the student's height and width.
        """
        levels, seen = self.own_neck, self._student.batch
        if self.batch is seen:
            return levels
        return {
            stride: aligned(levels[stride], self.batch, like, seen)
            for stride, like in self._student.neck.items()
            if stride in levels
        }

    @cached_property
    @torch.no_grad()
    def region_features(self) -> Tensor:
        """Features of the compared regions, each from its own level, P x C x 7 x 7
        (docs/papers.md 0.1)."""
        regions = self._student.regions
        if self._needed & _HEAD_TAPS:
            return self._head["bbox_feats"][regions.compared_index]
        return region_features(self._model.roi_head, self._features, self._own(regions.compared))

    @cached_property
    def embeddings(self) -> Tensor:
        """Inputs of the classification layer, N x D."""
        return self._head["embeddings"]

    @cached_property
    def class_logits(self) -> Tensor:
        """Class logits, N x (K + 1) with background last."""
        return self._head["cls_score"]

    @cached_property
    def box_deltas(self) -> Tensor:
        """Box deltas, N x 4K."""
        return self._head["bbox_pred"]

    @cached_property
    @torch.no_grad()
    def box_distributions(self) -> Tensor:
        """Logits of the distributions over 0 to D strides, N x A x 4 x (D + 1), of all A anchors.

        Raises:
            ValueError: The teacher sees the images at another size, and so has other anchors.
        """
        return by_side(self.dense_outputs[1])

    @cached_property
    @torch.no_grad()
    def dense_outputs(self) -> tuple[Levels, Levels]:
        """Class scores and box outputs of every level, N x A*K x H x W and N x A*4 x H x W.

        Raises:
            ValueError: The teacher sees the images at another size, and so has other cells.
        """
        self._check_cells()
        scores, boxes = self.dense_head(self._features)[:2]
        return scores, boxes

    @property
    def dense_head(self) -> Any:
        """The teacher's one-stage head, in eval mode."""
        return self._model.bbox_head

    def crossed_outputs(self, classes: Levels, boxes: Levels, convs: int) -> tuple[Levels, Levels]:
        """Return what the teacher's head predicts from maps of the student's towers; gradient flows
        to them.

        Args:
            classes: Maps that enter the tower of classes, as wide as the teacher's.
            boxes: Maps that enter the tower of boxes.
            convs: Number of convolutions at the end of each tower that they pass.
        """
        self._check_cells()
        with entered(self.dense_head, classes, boxes, convs):
            scores, deltas = self.dense_head(self._features)[:2]
        return scores, deltas

    def _check_cells(self) -> None:
        if self.batch is not self._student.batch:
            raise ValueError("the teacher's cells are not the student's: it sees another size")

    @cached_property
    @torch.no_grad()
    def _features(self) -> Sequence[Tensor]:
        return tuple(self._model.extract_feat(self.batch.inputs))

    @cached_property
    @torch.no_grad()
    def _head(self) -> dict[str, Tensor]:
        """The outputs of the (first) RoI head for all regions, and what its box head reads."""
        head = self._model.roi_head
        rois = self._own(self._student.regions.rois)
        box_head = first_stage(head.bbox_head)
        with (
            recorded_calls(box_head, "forward") as read,
            recorded_calls(box_head.fc_cls, "forward") as classified,
        ):
            outputs = bbox_forward(head, self._features, rois)
        embeddings = classified[0].args[0].to(self.batch.inputs.dtype)
        return outputs | {"bbox_feats": read[0].args[0], "embeddings": embeddings}

    def _own(self, rois: Tensor) -> Tensor:
        """Return the student's regions in pixels of the teacher's input."""
        seen = self._student.batch
        return rois if self.batch is seen else to_other_input(rois, seen, self.batch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentStep:
    """A student's detection losses on a batch, and its taps."""

    losses: dict[str, Tensor]
    """Scalars by mmdet's names, for example loss_rpn_cls and loss_cls."""
    taps: StudentTaps


def neck_strides(model: Any) -> tuple[int, ...]:
    """Return the strides of the levels that a detector's `extract_feat` returns."""
    dense_head = model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head
    return tuple(int(stride[0]) for stride in dense_head.prior_generator.strides)


def first_stage(heads: Any) -> Any:
    """Return a cascade's first head, extractor or sampler, whose regions are the proposals; else
    the only one."""
    return heads[0] if isinstance(heads, torch.nn.ModuleList | list) else heads


def bbox_forward(
    head: Any, features: Sequence[Tensor], rois: Tensor, *, stage: int = 0
) -> dict[str, Tensor]:
    """Run mmdet's `_bbox_forward` of an RoI head.

    Args:
        head: The RoI head; that of HTC and DetectoRS may have a semantic branch.
        features: The neck's levels.
        rois: N x 5: image number, then xyxy in pixels of the input.
        stage: Stage of a cascade, from 0; ignored if there is only one.
    """
    semantic = _semantic_features(head, features)
    given = {} if semantic is None else {"semantic_feat": semantic}
    is_cascade = isinstance(head.bbox_head, torch.nn.ModuleList)
    stages = (stage,) if is_cascade else ()
    outputs: dict[str, Tensor] = head._bbox_forward(*stages, features, rois, **given)
    return outputs


def region_features(head: Any, features: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Return RoIAlign features as the RoI head's (first) box head reads them: with those of the
    semantic branch added, if it has one (HTC, DetectoRS)."""
    extractor = first_stage(head.bbox_roi_extractor)
    pooled: Tensor = extractor(features[: extractor.num_inputs], rois)
    semantic = _semantic_features(head, features)
    if semantic is not None:
        fused = head.semantic_roi_extractor([semantic], rois)
        height, width = pooled.shape[-2:]
        pooled = pooled + adaptive_avg_pool2d(fused, (height, width))
    if head.with_shared_head:
        pooled = head.shared_head(pooled)
    return pooled


def _semantic_features(head: Any, features: Sequence[Tensor]) -> Tensor | None:
    """Return the map of an RoI head's semantic branch that its box heads read; None without."""
    if not getattr(head, "with_semantic", False) or "bbox" not in head.semantic_fusion:
        return None
    _, found = head.semantic_head(features)
    semantic: Tensor = found
    return semantic


def total(value: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a loss as one scalar, since mmdet returns some for each pyramid level."""
    if isinstance(value, Tensor):
        return value.mean()
    return torch.stack([level.mean() for level in value]).sum()
