"""Trains a pool by progressive shrinking, one iteration at a time.

Joint-DetNAS section A.1.3, docs/papers.md 1.7. Phase 0 trains the supernet alone. Later phases
train one random subnet per iteration, taught by the supernet from the end of phase 0. A training
that continues another pool may begin with such a phase; the supernet that it starts from teaches.
`detection.training` does the iterations; the caller stores the checkpoints.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from detection.build import Student, load_student
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.iteration import Iteration
from detection.training import Training
from elastic_pool.sandwich import SandwichTraining, normalise_by_batch
from elastic_pool.schedule import Phase, phases, sandwich_at, subnet_at
from elastic_pool.sorting import sort_channels
from elastic_pool.supernet import Supernet, extract
from searchd.domain.subnet import Subnet
from searchd.messages.codecs import EVALUATED_SUBNETS, PHASE_EPOCHS
from searchd.messages.reports import EvaluatedSubnet, PhaseEpoch
from searchd.spec import MethodsSpec, PoolSpec

_ADAPTER = "proposal_feature.adapter.weight"
"""The only weight outside the supernet that reads its neck channels: outputs x neck x 3 x 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolIteration:
    """One finished iteration."""

    phase: Phase
    iteration: Iteration


class PoolTraining:
    """The training of a pool, with the whole state that a resumed run needs.

    Attributes:
        supernet: The supernet; its weights change as `run` is iterated.
        phase: The current phase.
        notes: What the supernet has of a pretrained backbone, in sentences; empty without one.
    """

    def __init__(
        self,
        spec: PoolSpec,
        split: CocoSplit,
        *,
        start: Mapping[str, Tensor] | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        num_readers: int = 0,
    ) -> None:
        """
        Args:
            spec: The space, the phases and the training settings.
            split: Training images.
            start: Weights of the trained supernet from which the training continues, with the
                names of `Supernet.weights`; None: it starts anew. The channels keep their order in
                the first phase, since the subnets were trained with it.
            device: Where to train.
            rank: Rank of this data-parallel process, from 0.
            world_size: Number of data-parallel processes; see `detection.training.Training`.
            num_readers: Number of processes that read images ahead; 0 to read them in this one.

        Raises:
            CheckpointError: The pretrained backbone cannot be loaded, or does not fit.
            DataError: The split has no object to train on.
            RuntimeError: `start` does not fit the supernet.
        """
        self._spec, self._split = spec, split
        self._settings = {
            "device": device,
            "rank": rank,
            "world_size": world_size,
            "num_readers": num_readers,
        }
        self._phases = phases(spec)
        self._epochs_before: tuple[PhaseEpoch, ...] = ()
        """Metrics of the phases before the current one."""
        self._measured: tuple[EvaluatedSubnet, ...] = ()
        """Subnets measured at the end of the current phase."""
        self._graduate: dict[str, Tensor] = {}
        """Weights of the supernet that teaches: from the end of phase 0, or, if phase 0 distils,
        from its start. Empty before that."""
        torch.manual_seed(spec.seed)
        self.supernet = Supernet(spec.space.space, spec.head, split.num_classes)
        self.notes = () if spec.pretrained is None else self.supernet.start_from(spec.pretrained)
        if start is not None:
            self.supernet.load(dict(start))
        self.phase = self._phases[0]
        if self.phase.distil and not self.phase.in_place:
            self._graduate = self._largest()
        self._distiller: Distiller | None = None
        self._training = self._begin()

    @property
    def epochs(self) -> tuple[PhaseEpoch, ...]:
        """Metrics of the epochs finished so far, over all phases."""
        running = [
            PhaseEpoch(phase=self.phase.name, metrics=metrics) for metrics in self._training.epochs
        ]
        if self._measured:
            running[-1] = replace(running[-1], subnets=self._measured)
        return (*self._epochs_before, *running)

    @property
    def unmeasured(self) -> tuple[Subnet, ...]:
        """The subnets to measure before the next phase begins: the largest and the smallest of a
        phase that has ended, without those that were measured. Empty inside a phase, and after the
        last, when the whole pool is evaluated."""
        if not self._training.finished or self.phase is self._phases[-1]:
            return ()
        measured = {each.subnet for each in self._measured}
        return tuple(subnet for subnet in self.phase.extremes if subnet not in measured)

    def add_measured(self, subnet: EvaluatedSubnet) -> None:
        """Keep a measurement of one of `unmeasured` with the metrics of the phase's last epoch."""
        self._measured += (subnet,)

    @property
    def mean_losses(self) -> dict[str, float]:
        """Means of the losses over the current epoch so far; empty at its start."""
        return self._training.mean_losses

    @property
    def num_iterations(self) -> int:
        """Iterations of one epoch, the same in every phase."""
        return self._training.num_iterations

    def iterations_left(self, at: PoolIteration) -> int:
        """Return the number of iterations that follow one, over all phases."""
        later = sum(phase.training.epochs for phase in self._phases[at.phase.index + 1 :])
        epochs = at.phase.training.epochs - at.iteration.epoch + later
        return (epochs + 1) * self.num_iterations - at.iteration.iteration

    def run(self) -> Iterator[PoolIteration]:
        """Train from the current state to the end, yielding after every iteration.

        Raises:
            NonFiniteLossError: A loss is not finite. The weights were not changed by it.
            DataError: An image cannot be read.
        """
        while True:
            for iteration in self._training.run():
                yield PoolIteration(phase=self.phase, iteration=iteration)
            if self.phase is self._phases[-1]:
                return
            self._advance()

    def state_dict(self) -> dict[str, Any]:
        """Return the whole changing state, for `torch.save`; it loads with `weights_only=True`.

        A training that continues from it equals an uninterrupted one to the bit (on the CPU).
        """
        return {
            "phase": self.phase.index,
            "epochs_before": PHASE_EPOCHS.dump_python(self._epochs_before, mode="json"),
            "measured": EVALUATED_SUBNETS.dump_python(self._measured, mode="json"),
            "graduate": self._graduate,
            "training": self._training.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the state of a training that was made from the same arguments.

        Raises:
            RuntimeError: A weight's key or shape differs.
        """
        self.phase = self._phases[state["phase"]]
        self._epochs_before = PHASE_EPOCHS.validate_python(state["epochs_before"])
        self._measured = EVALUATED_SUBNETS.validate_python(state.get("measured", ()))
        self._graduate = dict(state["graduate"])
        self._training = self._begin()
        self._training.load_state_dict(state["training"])

    def _advance(self) -> None:
        """Begin the next phase: store the graduate, sort the channels, carry adapters over."""
        self._epochs_before, self._measured = self.epochs, ()
        if self.phase.index == 0 and not self._graduate:
            self._graduate = self._largest()
        adapters = self._distiller.state_dict() if self._distiller else {}
        self.phase = self._phases[self.phase.index + 1]
        if self.phase.sorts_channels:
            order = sort_channels(self.supernet)
            if _ADAPTER in adapters:
                adapters = {**adapters, _ADAPTER: adapters[_ADAPTER][:, order]}
        self._training = self._begin()
        if self._distiller and adapters:
            self._distiller.load_state_dict(adapters)

    def _largest(self) -> dict[str, Tensor]:
        return extract(self.supernet, self.supernet.space.largest).weights

    def _begin(self) -> Training:
        """Return the phase's training at its first step, with new adapters and a new optimizer."""
        seed = self.phase.seed(self._spec.seed)
        torch.manual_seed(seed)  # so that all ranks draw the same adapters
        self._distiller = self._make_distiller() if self.phase.distil else None
        settings: dict[str, Any] = self._settings | {"seed": seed, "distiller": self._distiller}
        split, spec = self._split, self.phase.training
        if not self.phase.sandwich:
            detector = self.supernet.detector
            return Training(detector, split, spec, step_context=self._activate, **settings)
        steps = _Steps()
        return SandwichTraining(
            self.supernet,
            lambda: sandwich_at(self.phase, seed=self._spec.seed, step=steps.now),
            split,
            spec,
            step_context=steps,
            in_place=self._distiller.teacher if self._distiller and self.phase.in_place else None,
            **settings,
        )

    def _make_distiller(self) -> Distiller:
        """Return the distiller: Joint-DetNAS's losses (docs/papers.md 1.8), by the graduate or
        in place."""
        largest = self.supernet.space.largest
        weights = self._largest() if self.phase.in_place else self._graduate
        teacher = load_student(Student(detector=self.supernet.static(largest), weights=weights))
        pair = pair_of(self.supernet.detector, teacher, self._split)
        distiller = Distiller(MethodsSpec().methods, teacher, pair)
        if self.phase.in_place:
            normalise_by_batch(teacher)
        return distiller

    def _activate(self, step: int) -> AbstractContextManager[object]:
        return self.supernet.active(subnet_at(self.phase, seed=self._spec.seed, step=step))


class _Steps:
    """Remembers the global step that a training has entered."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self, step: int) -> AbstractContextManager[object]:
        self.now = step
        return nullcontext()
