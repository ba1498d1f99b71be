"""The interface of a distillation method, and the arguments of its builder."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor, distributed, nn
from torch.nn.utils import clip_grad_norm_

from detection.data.coco import CocoSplit
from detection.data_parallel import is_distributed
from detection.distillation.adapters import ChannelAdapter
from detection.distillation.compared import Compared, TeacherVariance
from detection.distillation.neck_start import NeckStart
from detection.distillation.taps import StudentTaps, TeacherTaps
from searchd.domain.method_description import NoOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of a detector that adapters depend on; the largest ones if it is elastic."""

    two_stage: bool
    num_classes: int
    strides: tuple[int, ...]
    """Strides of the neck's levels, in pixels of the input."""
    neck_channels: int
    embedding_channels: int | None
    """Channels of the tap EMBEDDINGS; None if the detector has no such layer."""
    tower_convs: int = 0
    """Number of convolutions in each tower of a one-stage head; 0 if it has none."""
    num_anchors: int
    """Number of anchors per cell of a one-stage head; 1 for two-stage detectors."""
    anchors: AnchorGenerator | None = None
    """Anchors of the dense head or of the RPN; None if it is anchor-free."""
    regions_per_image: int | None = None
    """Largest number of regions of an image on which a student is compared. None: not known, since
    the detector has no settings for training."""
    shared_head_channels: int | None = None
    """Output channels of the backbone stage that a RoI head without FPN runs on regions (C4)."""

    @property
    def region_channels(self) -> int:
        """Channels of the taps REGION_FEATURES and REGION_LEVELS."""
        return self.shared_head_channels or self.neck_channels


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """The student and teacher that a method is built for."""

    student: Sizes
    teacher: Sizes
    train_split: CocoSplit
    """The student's training images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptimizer:
    """An optimizer beside the student's, for methods that train their own network."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    """Learning rate schedule, advanced after every step."""
    max_grad_norm: float
    """Gradients are clipped to this norm."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def clip(self) -> Tensor:
        """Clip the gradients, and return their norm from before, a scalar."""
        return clip_grad_norm_(self.parameters, self.max_grad_norm)

    def step(self, take: Callable[[torch.optim.Optimizer], object] | None = None) -> None:
        """Take a step and advance the schedule.

        Args:
            take: Takes the step, by default with the gradients as they are.
        """
        if take is None:
            self.optimizer.step()
        else:
            take(self.optimizer)
        self.schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state."""
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of another optimizer."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


class DistillationMethod(nn.Module, ABC):
    """A loss between a student's and a teacher's taps.

    Its parameters, if any, are adapters: they are trained with the student, stored separately, not
    exported, and inherited, with the persistent buffers, by the student's children. Buffers that
    are not persistent are stored for a resumed training only. A mean over items whose number
    differs between ranks must use `balanced`.
    """

    weight: float = 1.0
    """Weight of the loss, from the spec. The `Distiller` sets it."""
    preparation_iterations: int = 0
    """Number of iterations of `preparation_losses` before the first epoch."""
    start: Literal["least_squares", "random"] = "random"
    """How new linear adapters start. The `Distiller` sets it from the options."""
    start_images: int = 0
    """Number of training images to which they are fitted, and on which `variance` is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.variance: TeacherVariance | None = None
        """Units of the loss at the places of `compared`, in their order; None: it has none."""
        self.figures: dict[str, Tensor] = {}
        """What the last losses say beside themselves, without gradient, as finite scalars."""
        self.notes: tuple[str, ...] = ()
        """What a user should know of the training that was started, in sentences."""

    @classmethod
    @abstractmethod
    def build(cls, options: Any, pair: Pair) -> Self:
        """Build the method with random adapters.

        Args:
            options: The method's options, of its class in the catalogue.
            pair: The student and teacher.
        """

    @abstractmethod
    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        """Return the scalar loss. Gradient flows to the student's taps and the adapters.

        If there is nothing to compare, it is zero with a graph to every adapter, since ranks must
        agree on which parameters have a gradient.
        """

    @property
    def linear_adapters(self) -> tuple[ChannelAdapter, ...]:
        """The adapters that can start by least squares. Methods that have some override it."""
        return ()

    def compared(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Compared]:
        """Return what the method compares before its linear adapters, by place, as in "at stride
        8". Methods with linear adapters override it."""
        del student, teacher
        return {}

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        """Return the losses to add to the detection losses: "" is the weighted loss, other names
        are parts that the weight does not scale."""
        return {"": self.weight * self(student, teacher)}

    def preparation_losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        """Return the losses of an iteration before the first epoch, which do not change the
        student. They are empty unless the method has `preparation_iterations`."""
        del student, teacher
        return {}

    def prepare(self, student: nn.Module, teacher: nn.Module) -> tuple[nn.Module, ...]:
        """Change the student once, before its training under this teacher.

        Returns:
            Modules of the student that stay in eval mode during the training. Parameters that are
            to stay frozen no longer require gradients.
        """
        del student, teacher
        return ()

    def neck_start(self, student: nn.Module, teacher: nn.Module) -> NeckStart | None:
        """Return what fits the student's neck to its backbone, after `prepare` and before the first
        step; None, as for most, if the neck stays as it is."""
        del student, teacher
        return None

    def own_optimizer(self, num_iterations: int) -> OwnOptimizer | None:
        """Return the method's own optimizer; None, as for most, if the student's trains the
        adapters.

        Args:
            num_iterations: Number of iterations of the whole training, preparation included.
        """
        del num_iterations
        return None


class MethodWithoutOptions(DistillationMethod):
    """A method that is built in the same way for every pair."""

    @classmethod
    def build(cls, options: NoOptions, pair: Pair) -> Self:
        del options, pair
        return cls()


class Preparation(DistillationMethod):
    """A method that changes the student before its training, by `prepare`, and adds no loss."""

    def forward(self, student: StudentTaps, teacher: TeacherTaps) -> Tensor:
        """Return zero."""
        del teacher
        return student.batch.inputs.new_zeros(())

    def losses(self, student: StudentTaps, teacher: TeacherTaps) -> dict[str, Tensor]:
        del student, teacher
        return {}


def balanced(mean: Tensor, count: float) -> Tensor:
    """Scale a rank's mean over `count` items so that the mean over ranks is the mean over all
    items.

    Gradients are averaged over data-parallel ranks, which may have different numbers of items, for
    example regions. Without other ranks the mean is not changed. Every rank must call it, in the
    same order, also with a count of 0.
    """
    if not is_distributed():
        return mean
    total = torch.tensor(float(count), device=mean.device)
    distributed.all_reduce(total)
    return mean * count * distributed.get_world_size() / total.clamp(min=1)
