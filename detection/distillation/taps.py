"""What distillation reads of a student and of a teacher: each part computed when first read, once.

A student's taps come out of mmdet's own loss, which `student_step` runs while it listens: its
losses are plain training's by construction. A teacher is asked for the student's regions
(docs/papers.md 0.2, 1.8, 3.5). Attributes are named as `searchd.domain.distillation_methods.Tap`.

Shapes: N regions of the whole batch, P of them compared, C neck channels, K foreground classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.alignment import aligned, on_other
from searchd.domain.distillation_methods import Tap

_HEAD_TAPS = frozenset({Tap.EMBEDDINGS, Tap.CLASS_LOGITS, Tap.BOX_DELTAS})
"""Taps of a teacher for which its RoI head runs."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cells:
    """Where in a one-stage head regions were predicted; each of N, long."""

    level: Tensor
    """Index of the neck level, from 0."""
    cell: Tensor
    """y * width + x on that level."""
    anchor: Tensor
    """Index of the anchor at that cell; 0 for anchor-free heads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Regions:
    """The boxes on which student and teacher are compared. No gradient flows to them."""

    rois: Tensor
    """N x 5: image number in the batch, then xyxy in pixels of the input."""
    is_positive: Tensor
    """N, bool: matched to an object with IoU of at least 0.5."""
    is_compared: Tensor
    """N, bool: whose features are compared: a two-stage student's positives, all of a one-stage
    student's (docs/papers.md 3.1)."""
    labels: Tensor
    """N, long: class of the matched object; K where there is none."""
    cells: Cells | None = None
    """Of a one-stage student."""

    @property
    def compared(self) -> Tensor:
        """P x 5."""
        return self.rois[self.is_compared]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedPredictions:
    """Predictions of the M anchors, points or proposals that are assigned to an object."""

    logits: Tensor
    """M x K (sigmoid heads) or M x (K + 1) (softmax heads, background last)."""
    boxes: Tensor
    """M x 4, xyxy in pixels of the input; gradient reaches the head's deltas."""
    image: Tensor
    """M, long: image number in the batch."""
    object: Tensor
    """M, long: index of the object in `batch.samples[image].gt_instances`."""


class Taps:
    """Taps of one detector on one batch; reading an attribute computes it, once."""

    @property
    def computed(self) -> frozenset[Tap]:
        """What has been read so far."""
        return frozenset(tap for tap in Tap if tap.value in vars(self))


class StudentTaps(Taps, ABC):
    """A student's taps. Gradient flows through all but the regions."""

    def __init__(self, batch: Batch, step: int) -> None:
        self.batch = batch
        """What the student saw: normalised inputs (padded), and the objects of every image."""
        self.step = step
        """Global step of the training, from 0."""

    @property
    @abstractmethod
    def neck(self) -> dict[int, Tensor]:
        """Each level's features, N x C x H/stride x W/stride, by its stride."""

    @property
    @abstractmethod
    def regions(self) -> Regions:
        """Where both sides are compared."""

    @property
    @abstractmethod
    def region_features(self) -> Tensor:
        """P x C x 7 x 7, of the compared regions."""

    @property
    @abstractmethod
    def region_levels(self) -> Tensor:
        """L x P x C x 7 x 7: RoIAlign of the compared regions on every level that the student's
        head uses (docs/papers.md 3.1)."""

    @property
    @abstractmethod
    def embeddings(self) -> Tensor:
        """N x D: the last layer before the output; of a one-stage head the classification tower's
        last convolution at the region's cell, whose D channels serve all anchors of the cell."""

    @property
    @abstractmethod
    def class_logits(self) -> Tensor:
        """N x (K + 1), background last; N x K of a one-stage head, which has sigmoids."""

    @property
    @abstractmethod
    def box_deltas(self) -> Tensor:
        """N x 4K, class by class."""

    @property
    @abstractmethod
    def matched_predictions(self) -> MatchedPredictions:
        """What the head says where it is to find an object."""


class TeacherTaps(Taps):
    """A teacher's taps at a student's places, without gradient. What nobody reads is not run.

    The teacher may see the images at another size (docs/papers.md 2.8). What it is read at are
    still the student's cells and the student's regions, wherever they lie in its own input: boxes,
    masks and predictions are the student's, in its pixels. `own_neck` alone is on the teacher's
    cells, for methods that compare whole maps; see `LevelAdapters`.

    Attributes:
        batch: What the teacher sees.
    """

    def __init__(
        self, model: Any, student: StudentTaps, needed: frozenset[Tap], batch: Batch | None = None
    ) -> None:
        """
        Args:
            model: In eval mode, with the student's classes.
            student: Whose regions, and cells, it is read at.
            needed: What will be read: decides whether features of all regions are needed, or of
                the compared ones alone.
            batch: What the teacher sees: the student's images, in the same order and flipped
                alike; None: the student's own batch.
        """
        self._model, self._student, self._needed = model, student, needed
        self.batch = batch or student.batch

    @cached_property
    def own_neck(self) -> dict[int, Tensor]:
        """Each level's features, N x C x H/stride x W/stride, by its stride; H x W as the teacher
        sees the images."""
        return dict(zip(neck_strides(self._model), self._features, strict=True))

    @cached_property
    def neck(self) -> dict[int, Tensor]:
        """`own_neck` on the student's cells.

        Of a teacher that sees the images at another size the levels that the student's neck has
        too, in the height and width of the student's.
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
        """P x C x 7 x 7, each region from its own level (docs/papers.md 0.1)."""
        regions = self._student.regions
        if self._needed & _HEAD_TAPS:
            return self._head["bbox_feats"][regions.is_compared]
        return region_features(self._model.roi_head, self._features, self._own(regions.compared))

    @cached_property
    def embeddings(self) -> Tensor:
        """N x D: input of the classification layer."""
        return self._head["embeddings"]

    @cached_property
    def class_logits(self) -> Tensor:
        """N x (K + 1), background last."""
        return self._head["cls_score"]

    @cached_property
    def box_deltas(self) -> Tensor:
        """N x 4K."""
        return self._head["bbox_pred"]

    @cached_property
    @torch.no_grad()
    def _features(self) -> Sequence[Tensor]:
        return tuple(self._model.extract_feat(self.batch.inputs))

    @cached_property
    @torch.no_grad()
    def _head(self) -> dict[str, Tensor]:
        """What the (first) RoI head makes of all regions."""
        head = self._model.roi_head
        rois = self._own(self._student.regions.rois)
        with listening(first_stage(head.bbox_head).fc_cls, "forward") as calls:
            outputs = bbox_forward(head, self._features, rois)
        return outputs | {"embeddings": calls[0].args[0]}

    def _own(self, rois: Tensor) -> Tensor:
        """The student's regions in pixels of the teacher's input."""
        seen = self._student.batch
        return rois if self.batch is seen else on_other(rois, seen, self.batch)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StudentStep:
    """A student's detection losses on a batch, and its taps."""

    losses: dict[str, Tensor]
    """mmdet's names, for example loss_rpn_cls, loss_cls; scalars."""
    taps: StudentTaps


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One call that was listened to."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


@contextmanager
def listening(owner: Any, method: str) -> Iterator[list[Call]]:
    """Keep the calls of `owner.method` made inside the context; they run as ever. Nothing is kept
    of an owner that is None."""
    calls: list[Call] = []
    if owner is None:
        yield calls
        return
    original: Callable[..., Any] = getattr(owner, method)

    def listened(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls.append(Call(args, kwargs, result))
        return result

    setattr(owner, method, listened)
    try:
        yield calls
    finally:
        delattr(owner, method)  # uncovers the class's own


def neck_strides(model: Any) -> tuple[int, ...]:
    """Strides of the levels that a detector's `extract_feat` gives."""
    dense_head = model.rpn_head if hasattr(model, "rpn_head") else model.bbox_head
    return tuple(int(stride[0]) for stride in dense_head.prior_generator.strides)


def first_stage(heads: Any) -> Any:
    """A cascade's first head or extractor, whose regions are the proposals; else the only one."""
    return heads[0] if isinstance(heads, torch.nn.ModuleList | list) else heads


def bbox_forward(head: Any, features: Sequence[Tensor], rois: Tensor) -> dict[str, Tensor]:
    """mmdet's `_bbox_forward` of an RoI head, of its first stage if it is a cascade."""
    is_cascade = isinstance(head.bbox_head, torch.nn.ModuleList)
    outputs: dict[str, Tensor] = (
        head._bbox_forward(0, features, rois) if is_cascade else head._bbox_forward(features, rois)
    )
    return outputs


def region_features(head: Any, features: Sequence[Tensor], rois: Tensor) -> Tensor:
    """RoIAlign features as the RoI head's (first) box head reads them."""
    extractor = first_stage(head.bbox_roi_extractor)
    pooled: Tensor = extractor(features[: extractor.num_inputs], rois)
    if head.with_shared_head:
        pooled = head.shared_head(pooled)
    return pooled


def total(value: Tensor | Sequence[Tensor]) -> Tensor:
    """A loss as one scalar; mmdet gives some per pyramid level."""
    if isinstance(value, Tensor):
        return value.mean()
    return torch.stack([level.mean() for level in value]).sum()
