"""Trains a detector one iteration at a time, so that a caller can report and stop in between.

Works for any mmdet detector that is trained on boxes, an elastic one included; with a teacher, for
those that `detection.distillation.student` reads. It knows nothing of trials and pools.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from mmdet.models import FasterRCNN
from mmengine.logging import MessageHub
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from detection.data.batches import Batch, TrainingBatches
from detection.data.coco import CocoSplit
from detection.data_parallel import average_gradients
from detection.distillation.distiller import Distiller
from detection.distillation.student import plain_losses, student_step
from searchd.domain.errors import InvalidValueError, SearchdError
from searchd.domain.resolution import Resolution
from searchd.messages.reports import EpochMetrics
from searchd.spec import TrainingSpec

WARMUP_START = 0.001
"""Share of the learning rate at the start of a warm-up (mmdet's schedules)."""
MILESTONES = (2 / 3, 11 / 12)
"""Shares of the epochs after which the step schedule divides the learning rate by ten (8 and 11 of
12 epochs)."""


class NonFiniteLossError(SearchdError):
    """A loss or a gradient is not finite. The weights were not changed by it."""

    def __init__(self, step: int, losses: Mapping[str, float]) -> None:
        """
        Args:
            step: The global step, from 0.
            losses: Every loss of that step, and gradient norms if one of them is not finite.
        """
        super().__init__(step, losses)
        self.step = step
        self.losses = dict(losses)

    def __str__(self) -> str:
        found = ", ".join(f"{name}={value:g}" for name, value in self.losses.items())
        return f"step {self.step} has a loss that is not finite: {found}; try a lower learning rate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One finished iteration."""

    epoch: int
    """Number of the epoch, from 1; 0 in the preparation of the distillation methods."""
    iteration: int
    """Number of the iteration inside its epoch, from 1."""
    losses: dict[str, float]
    """Each loss term, weighted, and their sum `loss`."""
    finished_epoch: EpochMetrics | None
    """Metrics of the epoch after its last iteration; None after all others."""


class Training:
    """The training of a detector, with the whole state that a resumed run needs.

    Attributes:
        model: The detector; its weights change as `run` is iterated.
        num_epochs: Number of epochs of the whole training.
        num_iterations: Number of iterations of one epoch.
        epochs: Metrics of the epochs finished so far.
        batches: This rank's batches.
    """

    def __init__(
        self,
        model: FasterRCNN,
        split: CocoSplit,
        spec: TrainingSpec,
        *,
        seed: int,
        distiller: Distiller | None = None,
        teacher_resolution: Resolution | None = None,
        device: torch.device | str = "cpu",
        step_context: Callable[[int], AbstractContextManager[object]] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            model: The detector to train; moved to `device`.
            split: Training images.
            spec: Training settings.
            seed: Seed of shuffling, flips, resolutions and sampling; the same on all ranks.
            distiller: One or more teachers with their methods; None to train without a teacher.
                Moved to `device`.
            teacher_resolution: Resolution at which the teachers see the student's images, which are
                decoded and flipped once for both; None for the student's. Not used without a
                distiller.
            device: Where to train.
            step_context: Entered around every iteration with its global step, for example to
                activate a subnet of an elastic detector.
            rank: Rank of this data-parallel process, from 0.
            world_size: Number of data-parallel processes. With more than one, torch.distributed
                must be initialised and all ranks must start from equal weights; gradients are then
                averaged by one all-reduce after each backward pass.

        Raises:
            DataError: The split has no object to train on.
        """
        self.model = model.to(device)
        self.num_epochs = spec.epochs
        self.epochs: list[EpochMetrics] = []
        self._spec = spec
        self._device = device
        self._distiller = distiller.to(device) if distiller else None
        self._teacher_resolution = teacher_resolution if distiller else None
        self._step_context = step_context or (lambda _: nullcontext())
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self.batches = TrainingBatches(
            split,
            batch_size=spec.batch_size,
            resolutions=spec.resolutions,
            flip_probability=spec.flip_probability,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.num_iterations = self.batches.num_iterations
        self._frozen = distiller.prepare(model) if distiller else ()
        iterations = self.preparation_iterations + self.num_epochs * self.num_iterations
        self._own = distiller.own_optimizers(iterations) if distiller else {}
        owned = {id(p) for own in self._own.values() for p in own.parameters}
        adapters = distiller.parameters() if distiller else ()
        self._parameters = [
            p for p in (*model.parameters(), *adapters) if p.requires_grad and id(p) not in owned
        ]
        self._optimizer = SGD(
            self._parameters,
            lr=spec.learning_rate,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
        )
        self._prepared = 0
        self._step = 0
        self._loss_sums: dict[str, float] = {}
        self._epoch_s = 0.0

    @property
    def preparation_iterations(self) -> int:
        """Iterations before the first epoch that train only the distillation methods."""
        return self._distiller.preparation_iterations if self._distiller else 0

    @property
    def finished(self) -> bool:
        return self._step >= self.num_epochs * self.num_iterations

    @property
    def mean_losses(self) -> dict[str, float]:
        """Means of the losses over the current epoch so far; empty at its start."""
        done = self._step % self.num_iterations
        return {name: total / done for name, total in self._loss_sums.items()}

    def seed_of(self, step: int) -> int:
        """Return the seed of torch on this rank for a global step."""
        mixed = np.random.SeedSequence((self._seed, step, self._rank))
        return int(mixed.generate_state(1, np.uint64)[0])

    def run(self) -> Iterator[Iteration]:
        """Train from the current state to the end, yielding after every iteration.

        The model is in train mode during an iteration and may be evaluated between iterations.
        Torch's global generators are seeded anew at every step.

        Raises:
            NonFiniteLossError: A loss is not finite. The weights were not changed by it.
            DataError: An image cannot be read.
        """
        while self._prepared < self.preparation_iterations:
            losses = self._preparation_step(*self._views(self._prepared))
            self._prepared += 1
            yield Iteration(epoch=0, iteration=self._prepared, losses=losses, finished_epoch=None)
        while not self.finished:
            started = time.perf_counter()
            with self._step_context(self._step):
                losses = self._train_step(*self._views(self._step))
            self._epoch_s += time.perf_counter() - started
            yield self._record(losses)

    def undistilled_difference(self) -> float:
        """Compare the next step's losses without distillation with those of plain mmdet training.

        Changes nothing.

        Returns:
            The largest relative difference.
        """
        batch = self.batches.batch(self._step).to(self._device)
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        self._enter_train_mode()
        with torch.no_grad(), self._step_context(self._step):
            torch.manual_seed(self.seed_of(self._step))
            ours = student_step(self.model, batch, self._step).losses
            torch.manual_seed(self.seed_of(self._step))
            plain = plain_losses(self.model, batch)
        for name, value in self.model.named_buffers():
            value.copy_(buffers[name])  # BN's running statistics
        return max(
            abs(float(ours[name]) - float(value)) / max(abs(float(value)), 1e-12)
            for name, value in plain.items()
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state, for `torch.save`; it loads with `weights_only=True`.

        A training that continues from it equals an uninterrupted one to the bit (on the CPU).
        """
        return {
            "step": self._step,
            "prepared": self._prepared,
            "model": self.model.state_dict(),
            "adapters": self._distiller.resume_state() if self._distiller else {},
            "optimizer": self._optimizer.state_dict(),
            "own_optimizers": {name: own.state_dict() for name, own in self._own.items()},
            "loss_sums": dict(self._loss_sums),
            "epoch_s": self._epoch_s,
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of a training that was made from the same arguments.

        Raises:
            RuntimeError: A weight's key or shape differs.
        """
        self.model.load_state_dict(state["model"])
        if self._distiller:
            self._distiller.load_resume_state(state["adapters"])
        self._optimizer.load_state_dict(state["optimizer"])
        for name, own in self._own.items():
            own.load_state_dict(state["own_optimizers"][name])
        self._step, self._prepared = state["step"], state["prepared"]
        self._loss_sums = dict(state["loss_sums"])
        self._epoch_s = state["epoch_s"]
        self.epochs = [EpochMetrics(**epoch) for epoch in state["epochs"]]

    def _views(self, step: int) -> tuple[Batch, Batch]:
        """Return the batch of a step as the student sees it, and as the teachers see it."""
        if self._teacher_resolution is None:
            own = teacher_batch = self.batches.batch(step)
        else:
            own, teacher_batch = self.batches.views(step, self._teacher_resolution)
        moved = own.to(self._device)
        return moved, moved if teacher_batch is own else teacher_batch.to(self._device)

    def _train_step(self, batch: Batch, teacher_batch: Batch) -> dict[str, float]:
        self._enter_train_mode()
        torch.manual_seed(self.seed_of(self._step))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._spec, self._step, self.num_iterations)

        losses = self._losses(batch, teacher_batch)
        values = self._backward(losses)
        norm = float(clip_grad_norm_(self._parameters, self._spec.max_grad_norm))
        self._check_finite(values | {"gradient_norm": norm} | self._clip_own())
        self._optimizer.step()
        for own in self._own.values():
            own.step()
        return values

    def _preparation_step(self, batch: Batch, teacher_batch: Batch) -> dict[str, float]:
        """Train the distillation methods. The student is read in eval mode and not changed."""
        assert self._distiller is not None  # only methods are prepared
        self.model.eval()
        torch.manual_seed(self.seed_of(self._prepared))
        with torch.no_grad():
            student = student_step(self.model, batch, self._prepared)
        values = self._backward(
            self._distiller.preparation_losses(student.taps, self._prepared, teacher_batch)
        )
        self._check_finite(values | self._clip_own())
        for own in self._own.values():
            own.step()
        return values

    def _enter_train_mode(self) -> None:
        self.model.train()
        for module in self._frozen:
            module.eval()
        # TOOD's head reads it there.
        MessageHub.get_current_instance().update_info("epoch", self._step // self.num_iterations)

    def _backward(self, losses: dict[str, Tensor]) -> dict[str, float]:
        """Compute gradients, averaged over the ranks; return each loss and their sum as numbers."""
        summed = torch.stack(list(losses.values())).sum()
        values = _as_floats(losses | {"loss": summed})
        self._check_finite(values)
        for optimizer in (self._optimizer, *(own.optimizer for own in self._own.values())):
            optimizer.zero_grad()
        summed.backward()
        if self._world_size > 1:
            owned = (p for own in self._own.values() for p in own.parameters)
            average_gradients((*self._parameters, *owned), self._world_size)
        return values

    def _clip_own(self) -> dict[str, float]:
        """Clip the gradients of the methods' own optimizers and return their norms from before."""
        return {f"{name}.gradient_norm": float(own.clip()) for name, own in self._own.items()}

    def _check_finite(self, values: Mapping[str, float]) -> None:
        if not all(map(math.isfinite, values.values())):
            raise NonFiniteLossError(self._step, values)

    def _losses(self, batch: Batch, teacher_batch: Batch) -> dict[str, Tensor]:
        if self._distiller:
            step = student_step(self.model, batch, self._step)
            losses = step.losses | self._distiller(step.taps, teacher_batch)
        else:
            losses = plain_losses(self.model, batch)
        if self._spec.bn_l1:
            losses["bn_l1"] = self._spec.bn_l1 * bn_l1(self.model.backbone)
        return losses

    def _record(self, losses: dict[str, float]) -> Iteration:
        """Count the iteration, and close the epoch after its last one."""
        epoch, iteration = divmod(self._step, self.num_iterations)
        self._step += 1
        for name, value in losses.items():
            self._loss_sums[name] = self._loss_sums.get(name, 0.0) + value
        finished = iteration + 1 == self.num_iterations
        if finished:
            self._close_epoch(epoch + 1)
        return Iteration(
            epoch=epoch + 1,
            iteration=iteration + 1,
            losses=losses,
            finished_epoch=self.epochs[-1] if finished else None,
        )

    def _close_epoch(self, epoch: int) -> None:
        metrics = EpochMetrics(
            epoch=epoch,
            losses={name: total / self.num_iterations for name, total in self._loss_sums.items()},
            learning_rate=self._optimizer.param_groups[0]["lr"],
            duration_s=self._epoch_s,
        )
        self.epochs.append(metrics)
        self._loss_sums, self._epoch_s = {}, 0.0


def learning_rate(spec: TrainingSpec, step: int, num_iterations: int) -> float:
    """Return the learning rate of a global step (from 0) with `num_iterations` per epoch.

    A linear warm-up multiplies the schedule, as in mmdet.
    """
    done = step / (spec.epochs * num_iterations)
    if spec.schedule == "cosine":
        rate = spec.learning_rate * (1 + math.cos(math.pi * done)) / 2
    elif spec.schedule == "linear":
        rate = spec.learning_rate * (1 - done)
    else:
        epoch = step // num_iterations
        passed = sum(epoch >= round(share * spec.epochs) for share in MILESTONES)
        rate = spec.learning_rate * 0.1**passed
    if step < spec.warmup_iterations:
        rate *= WARMUP_START + (1 - WARMUP_START) * step / spec.warmup_iterations
    return rate


def bn_l1(backbone: nn.Module) -> Tensor:
    """Return the sum of |gamma| over the BN layers. Joint-DetNAS section 3.3, docs/papers.md 1.9.

    Its gradient is sign(gamma), and 0 at 0.

    Raises:
        InvalidValueError: The backbone has no BN layers.
    """
    gammas: list[Tensor] = [
        module.weight for module in backbone.modules() if isinstance(module, _BatchNorm)
    ]
    if not gammas:
        raise InvalidValueError(
            f"training.bn_l1 needs a backbone with BN layers, and {type(backbone).__name__} has "
            "none; set bn_l1 to 0"
        )
    return torch.cat(gammas).abs().sum()


def _as_floats(losses: Mapping[str, Tensor]) -> dict[str, float]:
    """Convert all losses at once, since each transfer from a GPU waits for the GPU."""
    values = torch.stack([loss.detach() for loss in losses.values()]).tolist()
    return dict(zip(losses, values, strict=True))
