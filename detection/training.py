"""Trains a detector one iteration at a time, so that a caller can report and stop in between.

Works for any mmdet detector that is trained on boxes, an elastic one included; with a teacher, for
those that `detection.distillation.student` reads. It knows nothing of trials and pools.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from mmdet.models import FasterRCNN
from torch import Tensor

from detection.backbone_stages import batch_norms, freeze
from detection.batch_size import FoundBatchSize, find_batch_size
from detection.build import predicts_masks
from detection.data.augmentations import Augmenter
from detection.data.batches import Batch, TrainingBatches
from detection.data.coco import CocoSplit
from detection.data.reading_ahead import read_ahead
from detection.data_parallel import AveragedGradients
from detection.distillation.adapter_start import AdapterStart
from detection.distillation.distiller import Distiller
from detection.distillation.student import plain_losses, student_step
from detection.ema import AveragedWeights
from detection.families.tood_epochs import tell_epoch
from detection.fewer_waits import fewer_waits
from detection.iteration import EpochLog, Iteration, StepValues
from detection.loss_terms import bn_l1, largest_difference
from detection.mixed_precision import MixedPrecision
from detection.optimizer_steps import OptimizerSteps
from detection.optimizers import ScheduledOptimizer, parameter_groups, with_batch_size
from detection.unchanged import unchanged
from searchd.domain.resolution import Resolution
from searchd.messages.reports import EpochMetrics
from searchd.spec import TrainingSpec

READ_EVERY = 20
"""Number of steps whose losses a training on a GPU reads together."""


class Training:
    """The training of a detector, with the whole state that a resumed run needs.

    Attributes:
        model: The detector; its weights change as `run` is iterated.
        num_epochs: Number of epochs of the whole training.
        num_iterations: Number of iterations of one epoch.
        batches: Batches of this rank.
        found_batch_size: The batch size that was found by memory; None if it was given.
        start_notes: How new adapters were started, in sentences; empty before `start_adapters`.
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
        batch_size: int | None = None,
        num_readers: int = 0,
        read_every: int | None = None,
    ) -> None:
        """
        Args:
            model: The detector to train; moved to `device`. Frozen stages of its backbone no longer
                require gradients.
            split: Training images.
            spec: Training settings.
            seed: Seed of shuffling, augmentation, resolutions and sampling; the same on all ranks.
            distiller: One or more teachers with their methods; None to train without a teacher.
                Moved to `device`.
            teacher_resolution: Resolution at which the teachers see the student's images, which are
                decoded and augmented once for both; None, or no distiller: the student's.
            device: Where to train.
            step_context: Entered around every iteration with its global step, for example to
                activate a subnet.
            rank: Rank of this data-parallel process, from 0.
            world_size: Number of data-parallel processes. If several, torch.distributed must be
                initialised; gradients are averaged (`AveragedGradients`).
            batch_size: The batch size that an earlier attempt found by memory; None for that of
                `spec`.
            num_readers: Number of processes that read images ahead; 0 to read them in this one.
            read_every: Number of steps whose losses are read and checked together. With several,
                optimizers are fused, and skip what follows a loss that is not finite, and mmdet's
                parts that wait for a GPU are replaced (`fewer_waits`). None: 1 on a CPU,
                `READ_EVERY` on a GPU, which would idle meanwhile.

        Raises:
            DataError: The split has no object to train on.
            InvalidValueError: The settings need the stages of the backbone, which are not known.
            PrecisionError: The device has no such precision.
            torch.OutOfMemoryError: The batch size is to be found, and not even one image fits.
        """
        self.model = model.to(device)
        self.num_epochs = spec.epochs
        self._spec, self._split = spec, split
        self._device = device
        self._distiller = distiller.to(device) if distiller else None
        self._teacher_resolution = teacher_resolution if distiller else None
        self._step_context = step_context or (lambda _: nullcontext())
        self._seed, self._rank, self._world_size = seed, rank, world_size
        self._num_readers = num_readers
        read_every = read_every or (READ_EVERY if torch.device(device).type == "cuda" else 1)
        self._defers = read_every > 1
        self._prepared = self._step = 0
        self._adapters_started = False
        self.start_notes: tuple[str, ...] = ()
        self._precision = MixedPrecision(spec.amp, device)
        self._frozen = freeze(model.backbone, spec.frozen_stages)
        self._frozen += batch_norms(model.backbone) if spec.norm_eval else ()
        self._frozen += distiller.prepare(model) if distiller else ()
        self.found_batch_size: FoundBatchSize | None = None
        self.batches = self._batches_of(1)  # of single images, while the size is being found
        self.num_iterations = self.batches.num_iterations
        self._log = EpochLog(self.num_iterations)
        number = batch_size or self._batch_size()
        self._images_per_step = number * world_size
        self._spec = with_batch_size(spec, number, world_size)
        self.batches = self._batches_of(number)
        self.num_iterations = self.batches.num_iterations
        steps = self.preparation_iterations + self.num_epochs * self.num_iterations
        self._own = distiller.own_optimizers(steps) if distiller else {}
        owned = {id(p) for own in self._own.values() for p in own.parameters}
        adapters = distiller.parameters() if distiller else ()
        groups = parameter_groups(model, adapters, spec, excluded=owned)
        self._optimizer = ScheduledOptimizer(
            groups, self._spec, self.num_iterations, fused=self._defers
        )
        self._steps = OptimizerSteps(
            self._optimizer,
            self._own,
            self._precision,
            max_grad_norm=spec.max_grad_norm,
        )
        self._ranks = AveragedGradients(self._steps.parameters, world_size)
        self._log = EpochLog(self.num_iterations, read_every if self._steps.may_defer else 1)
        self._average = AveragedWeights(self.model, spec.ema) if spec.ema else None

    @property
    def epochs(self) -> list[EpochMetrics]:
        """Metrics of the epochs finished so far."""
        return self._log.epochs

    @property
    def evaluated_model(self) -> Any:
        """The detector to evaluate and store: the one with averaged weights, if they are averaged,
        else `model`. It changes as `run` is iterated."""
        return self._average.model if self._average else self.model

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
        return self._log.means(self._step % self.num_iterations)

    def seed_of(self, step: int) -> int:
        """Return the seed of torch on this rank for a global step."""
        mixed = np.random.SeedSequence((self._seed, step, self._rank))
        return int(mixed.generate_state(1, np.uint64)[0])

    def run(self) -> Iterator[Iteration]:
        """Train from the current state to the end, yielding after every iteration.

        The model is in train mode during an iteration and may be evaluated between iterations.
        Torch's global generators are seeded anew at every step.

        Raises:
            NonFiniteLossError: A loss is not finite. The weights were not changed by it, nor by
                steps after it.
            DataError: An image cannot be read.
        """
        for _ in self.start_adapters():
            pass
        for views in self._read(range(self._prepared, self.preparation_iterations)):
            values = self._preparation_step(*views)
            self._prepared += 1
            yield Iteration(epoch=0, iteration=self._prepared, values=values, finished_epoch=None)
        started = time.perf_counter()
        for views in self._read(range(self._step, self.num_epochs * self.num_iterations)):
            with self._step_context(self._step):
                values = self._train_step(*views)
            self._step += 1
            duration_s = time.perf_counter() - started
            at = self._log.add(values, learning_rate=self._optimizer.rate, duration_s=duration_s)
            yield at
            started = time.perf_counter()

    def start_adapters(self) -> Iterator[None]:
        """Start an inherited neck and new linear adapters where they fit, and measure the teachers'
        variances.

        It takes a pass over some training images for a neck, and one for the rest, as the first
        steps will see them, and changes nothing else. It is done once, before the first step; `run`
        does it if nobody did. A resumed training has it behind it.

        Yields:
            After every batch, so that a caller can report in between.

        Raises:
            DataError: An image cannot be read.
        """
        if self._distiller is None or self._adapters_started or self._step or self._prepared:
            return
        neck = self._distiller.neck_start(self.model)
        if neck is not None:
            yield from self._first(neck.num_images, lambda _, own, __: neck.add(own.inputs))
            self.start_notes = neck.finish()
        start = AdapterStart(self._distiller)

        def add(step: int, own: Batch, teachers: Batch) -> None:
            start.add(student_step(self.model, own, step).taps, teachers)

        yield from self._first(start.num_images, add)
        self.start_notes += start.finish()
        self._adapters_started = True

    def _first(self, num_images: int, add: Callable[[int, Batch, Batch], None]) -> Iterator[None]:
        """Call `add` with the step and the batches of the first images, without training."""
        wanted = math.ceil(num_images / self._images_per_step)
        steps = range(min(wanted, self.num_iterations))
        for step, (batch, teacher_batch) in zip(steps, self._read(steps), strict=True):
            with self._trial_step(step):
                add(step, batch, teacher_batch)
            yield

    def undistilled_difference(self) -> float:
        """Compare the next step's losses without distillation with those of plain mmdet training.

        Changes nothing.

        Returns:
            The largest relative difference.
        """
        batch = self.batches.batch(self._step).to(self._device)
        with self._trial_step(self._step):
            ours = student_step(self.model, batch, self._step).losses
            torch.manual_seed(self.seed_of(self._step))
            plain = plain_losses(self.model, batch)
        return largest_difference(ours, plain)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state, for `torch.save`; it loads with `weights_only=True`.

        On a CPU, a training that continues from it equals an uninterrupted one to the bit.

        Raises:
            NonFiniteLossError: A loss that had not been read yet is not finite.
        """
        return {
            "step": self._step,
            "prepared": self._prepared,
            "model": self.model.state_dict(),
            "adapters": self._distiller.resume_state() if self._distiller else {},
            "optimizer": self._optimizer.optimizer.state_dict(),
            "own_optimizers": {name: own.state_dict() for name, own in self._own.items()},
            "average": self._average.state_dict() if self._average else {},
            "loss_scale": self._precision.state_dict(),
            "batch_size": self._spec.batch_size,
            **self._log.state_dict(),
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
        if self._average:
            self._average.load_state_dict(state["average"])
        self._precision.load_state_dict(state.get("loss_scale", {}))
        self._step, self._prepared = state["step"], state["prepared"]
        self._log.load_state_dict(state)

    def _batches_of(self, batch_size: int) -> TrainingBatches:
        return TrainingBatches(
            self._split,
            batch_size=batch_size,
            resolutions=self._spec.resolutions,
            augmenter=Augmenter.of(self._spec),
            use_empty_images=self._spec.use_empty_images,
            masks=predicts_masks(self.model),
            seed=self._seed,
            rank=self._rank,
            world_size=self._world_size,
        )

    def _batch_size(self) -> int:
        """Return the batch size of the settings, which may have to be found by memory."""
        if self._spec.batch_size != "auto":
            return self._spec.batch_size
        adapters = self._distiller.parameters() if self._distiller else ()
        parameters = [*self.model.parameters(), *adapters]
        trained = sum(p.nbytes for p in parameters if p.requires_grad)
        with unchanged(self.model, self._distiller):
            self.found_batch_size = find_batch_size(
                self._probe,
                parameters,
                self._device,
                num_images=self.batches.num_iterations,
                optimizer_bytes=trained * (2 if self._spec.optimizer == "adamw" else 1),
            )
        return self.found_batch_size.number

    def _probe(self, num_images: int) -> None:
        """Compute the gradients of a step of the largest images, and drop them."""
        largest = max(self._spec.resolutions, key=lambda each: each.area)
        views = self.batches.largest_views(num_images, largest, self._teacher_resolution or largest)
        self._enter_train_mode()
        torch.manual_seed(self.seed_of(0))
        losses = self.losses(*(view.to(self._device) for view in views))
        self._precision.backward(torch.stack(list(losses.values())).sum())
        self.model.zero_grad()

    def _read(self, steps: range) -> Iterator[tuple[Batch, Batch]]:
        """Yield the batch of each step as the student sees it, and as the teachers see it."""
        seen = () if self._teacher_resolution is None else (self._teacher_resolution,)
        read = read_ahead(
            self.batches, steps, seen, device=self._device, num_readers=self._num_readers
        )
        for step, found in zip(steps, read, strict=True):
            own = self.batches.resolution(step)
            yield found[own], found[self._teacher_resolution or own]

    @contextmanager
    def _trial_step(self, step: int) -> Iterator[None]:
        """Inside the context, losses of a step are computed as in training, and nothing changes."""
        self._enter_train_mode()
        with unchanged(self.model), torch.no_grad(), self._step_context(step), self._networks():
            torch.manual_seed(self.seed_of(step))
            yield

    def _train_step(self, batch: Batch, teacher_batch: Batch) -> StepValues:
        self._enter_train_mode()
        torch.manual_seed(self.seed_of(self._step))
        self._optimizer.set_rate(self._step)
        losses = self._ranks.losses(lambda: self.losses(batch, teacher_batch))
        figures = self._distiller.figures if self._distiller else {}
        values = self._steps.take(self._step, losses, figures)
        if self._average:
            self._average.update(self.model)
        return values

    def _preparation_step(self, batch: Batch, teacher_batch: Batch) -> StepValues:
        """Train the distillation methods. The student is read in eval mode and not changed."""
        self.model.eval()
        torch.manual_seed(self.seed_of(self._prepared))
        losses = self._ranks.losses(lambda: self._preparation_losses(batch, teacher_batch))
        figures = self._distiller.figures if self._distiller else {}
        values = self._steps.take(self._step, losses, figures, trains_student=False)
        values.check()
        return values

    def _preparation_losses(self, batch: Batch, teacher_batch: Batch) -> dict[str, Tensor]:
        assert self._distiller is not None  # only methods are prepared
        with self._networks():
            with torch.no_grad():
                student = student_step(self.model, batch, self._prepared)
            return self._distiller.preparation_losses(student.taps, self._prepared, teacher_batch)

    def _enter_train_mode(self) -> None:
        self.model.train()
        for module in self._frozen:
            module.eval()
        tell_epoch(len(self.epochs), self.num_epochs)

    def _networks(self) -> AbstractContextManager[None]:
        """Inside the context, student and teachers compute in the training's precision."""
        return self._precision.networks((self.model, *self._teachers))

    def _few_waits(self) -> AbstractContextManager[None]:
        """Inside the context, a step waits less for a GPU. A CPU keeps mmdet's own parts, whose NMS
        chooses otherwise among boxes of equal scores."""
        return fewer_waits(self.model, self._teachers) if self._defers else nullcontext()

    @property
    def _teachers(self) -> tuple[Any, ...]:
        return self._distiller.teachers if self._distiller else ()

    def losses(self, own: Batch, teachers: Batch, *, distils: bool = True) -> dict[str, Tensor]:
        """Compute the losses of a step: of the student's batch, and that of the teachers."""
        with self._networks(), self._few_waits():
            if self._distiller and distils:
                step = student_step(self.model, own, self._step)
                losses = step.losses | self._distiller(step.taps, teachers)
            else:
                losses = plain_losses(self.model, own)
        if self._spec.bn_l1:
            losses["bn_l1"] = self._spec.bn_l1 * bn_l1(self.model.backbone)
        return losses
