"""The interface of a distillation method, and what its builders are told."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grad_norm_

from detection.data.coco import CocoSplit
from detection.data_parallel import is_distributed
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_options import NoOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The numbers of a detector that adapters depend on; the largest, where it is elastic."""

    two_stage: bool
    num_classes: int
    strides: tuple[int, ...]
    """Of the neck's levels."""
    neck_channels: int
    embedding_channels: int | None
    """Of the tap EMBEDDINGS; None if the detector has no such layer."""
    num_anchors: int
    """Per cell of a one-stage head; 1 for two-stage ones."""
    anchors: AnchorGenerator | None = None
    """Of the dense head, the RPN of a two-stage detector; None if it is anchor-free."""
    shared_head_channels: int | None = None
    """Of the backbone stage that a RoI head without FPN runs on every region (C4)."""

    @property
    def region_channels(self) -> int:
        """Of the taps REGION_FEATURES and REGION_LEVELS."""
        return self.shared_head_channels or self.neck_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What a method is built for."""

    student: Sizes
    teacher: Sizes
    train_split: CocoSplit
    """The images that the student is to train on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptimizer:
    """An optimizer beside the student's, for methods that train a network of their own."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    """Moved on after every step."""
    max_grad_norm: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def clip(self) -> Tensor:
        """Clip the gradients; their norm before, a scalar."""
        return clip_grad_norm_(self.parameters, self.max_grad_norm)

    def step(self) -> None:
        """Take a step, move the schedule on."""
        self.optimizer.step()
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


class DistillationMethod(nn.Module, ABC):
    """A loss between a student's and a teacher's taps.

    Its parameters, if any, are adapters: trained with the student, kept apart from it, absent from
    what is exported, and handed on, with its persistent buffers, to the student's children. Buffers
    that are not persistent are kept for a resumed training alone. A mean over something that ranks
    have different numbers of goes through `balanced`.
    """

    weight: float = 1.0
    """Of its loss; the spec's. Set by the `Distiller`."""
    preparation_iterations: int = 0
    """Iterations of `preparation_losses` before the training proper."""

    @classmethod
    @abstractmethod
    def build(cls, options: Any, pair: Pair) -> Self:
        """The method with random adapters.

        Args:
            options: The catalogue's dataclass for this method.
            pair: What it is built for.
        """

    @abstractmethod
    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        """The scalar loss; gradient flows to the student's taps and the adapters.

        Zero, with a graph to every adapter, when there is nothing to compare: ranks must agree on
        which parameters have a gradient.
        """

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        """What is added to the detection losses: "" is the weighted loss, other names are parts
        that the weight does not touch."""
        return {"": self.weight * self(student, teacher)}

    def preparation_losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        """What is minimised before the training proper; the student is not changed by it. Empty
        unless the method has `preparation_iterations`."""
        del student, teacher
        return {}

    def prepare(self, student: nn.Module, teacher: nn.Module) -> tuple[nn.Module, ...]:
        """Change the student once, before it is trained under this teacher.

        Returns:
            Modules of the student that stay in eval mode while it is trained. Parameters that are
            to stay frozen have lost `requires_grad`.
        """
        del student, teacher
        return ()

    def own_optimizer(self, num_iterations: int) -> OwnOptimizer | None:
        """None: the adapters are trained by the student's optimizer, as most are.

        Args:
            num_iterations: Of the whole training, preparation included.
        """
        del num_iterations
        return None


class MethodWithoutOptions(DistillationMethod):
    """A method that is built alike for every pair."""

    @classmethod
    def build(cls, options: NoOptions, pair: Pair) -> Self:
        del options, pair
        return cls()


class Preparation(MethodWithoutOptions):
    """A method that acts on the student before its training, by `prepare`, and adds no loss."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        """Zero."""
        del teacher
        return student.batch.inputs.new_zeros(())

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        del student, teacher
        return {}


def balanced(mean: Tensor, count: float) -> Tensor:
    """A rank's mean over `count` things as its share of the mean over those of all ranks.

    Gradients are averaged over data-parallel ranks, which may have different numbers of regions;
    so each rank's mean counts by its share. Alone, it is the mean. Every rank must call it, in the
    same order, also with a count of 0.
    """
    if not is_distributed():
        return mean
    total = torch.tensor(float(count), device=mean.device)
    distributed.all_reduce(total)
    return mean * count * distributed.get_world_size() / total.clamp(min=1)
