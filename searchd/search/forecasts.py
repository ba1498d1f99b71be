"""Forecasts of whole runs before anything starts: searches, distillations and pools. Pure.

The costs of single trials are from `searchd.search.cost_model`. Hours are sums over trials and do
not depend on how many trials run at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from searchd.search.cost_model import (
    CHECKPOINT_PER_WEIGHTS,
    Cost,
    Images,
    Measured,
    Training,
    forecast,
)

_HOUR_S = 3600.0
_CHECKPOINTS_PER_TRIAL = 2
"""A running trial stores the checkpoint of its last epoch and a later one."""
_IMPORT = (
    "the pool is imported and not trained; its subnets are evaluated once, which is not included; "
    "its weights are stored as float32"
)
_OF_METHODS = (
    "trials are counted as trials with a teacher, whatever their methods: those with costly "
    "methods take longer (docs/distillation.md has the time of a step by each)"
)
_SUPERNETS = 2 + 2 * CHECKPOINT_PER_WEIGHTS
"""What a pool stores, in multiples of its weights: the supernet, the supernet that teaches, and two
checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values for the shortest and the longest course of a run."""

    least: float
    most: float

    def times(self, factor: float) -> "Range":
        """Return the range with both ends multiplied."""
        return Range(least=self.least * factor, most=self.most * factor)

    def plus(self, other: "Range") -> "Range":
        """Return the range of the sum."""
        return Range(least=self.least + other.least, most=self.most + other.most)


_NONE, _ONE = Range(least=0, most=0), Range(least=1, most=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a data set before a run on it starts."""

    images: Images | None
    """None while the images are not counted."""
    earlier: Sequence[Measured]
    """Earlier trials, or phases of pools, on the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a run gets of the cluster."""

    trials_in_flight: int
    """The largest number of trials that run at once."""
    cpus_per_trial: float
    gpus_per_trial: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchWork:
    """What a search trains."""

    base: Training
    trial: Training
    """A search trial, with a teacher. A control is the same without one."""
    evaluated_areas: Sequence[float]
    """Pixels of an image at each resolution of the evaluation."""
    finish: Training | None
    """A finishing training, with a teacher; None if no detector is finished."""
    finished: int
    """Largest number of detectors that are finished."""
    trials: Range
    control_chains: int
    """Number of chains of controls, each at most as long as the search, and finished like the
    best."""
    repetitions: int
    """Extra trainings of trial 0 on other seeds."""
    confirms: bool
    """Whether trials with the best score so far are trained again."""
    searches_methods: bool
    """Whether trials differ in their distillation methods."""
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationWork:
    """What a distillation trains."""

    base: Training | None
    """None if the student is an earlier trial's."""
    stage: Training
    evaluated_areas: Sequence[float]
    """Pixels of an image at each resolution of the evaluation."""
    stages: Range
    """Of the order as submitted, its baselines and its study."""
    swept: Sequence[Training]
    """A stage with each further value of the sweep, all of which train the order."""
    order: Range
    """The stages of the order."""
    measures_costs: bool
    """Whether the order is chosen by adaptation costs."""
    resources: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolWork:
    """What a pool trains."""

    phases: Sequence[tuple[str, Training]]
    """Names and trainings, in their order; each step as one of the largest subnet."""
    evaluated_areas: Sequence[float]
    """Pixels of an image at each evaluation after the last phase."""
    cpus_per_worker: float
    gpus_per_worker: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a run."""

    trainings: Range
    epochs: Range
    """The sum over the trainings."""
    worker_hours: Range | None
    """None where nothing is known to compute it."""

    def plus(self, other: "Part") -> "Part":
        """Return both parts as one."""
        hours, others = self.worker_hours, other.worker_hours
        return Part(
            trainings=self.trainings.plus(other.trainings),
            epochs=self.epochs.plus(other.epochs),
            worker_hours=None if hours is None or others is None else hours.plus(others),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The forecast of a search or a distillation; None where nothing is known to compute it."""

    trials: Range
    """The number of search trials, or of a distillation's stages."""
    controls: Range
    """The number of controls."""
    search: Part
    """Base and search trials, with repetitions and confirmations; of a distillation, base and
    stages."""
    finish: Part
    """The finishing trainings."""
    worker_hours: Range | None
    gpu_hours: Range | None
    disk_bytes: float | None
    """An upper bound: all students with their adapters, and the checkpoints of running trials.
    Garbage collection keeps the real value below it."""
    basis: list[str]
    """How it was computed, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolForecast:
    """The forecast of a pool's training; None where nothing is known to compute it."""

    epochs: int
    """The epochs of all phases."""
    worker_hours: float | None
    """The sum over all workers, which work at the same time."""
    gpu_hours: float | None
    disk_bytes: float | None
    """An upper bound: the supernet, the supernet that teaches, and two checkpoints."""
    basis: list[str]
    """How it was computed, in words."""


def forecast_search(work: SearchWork, known: Known) -> Forecast:
    """Return trials, hours and disk space of a search."""
    base = _trial_cost(work.base, work, known)
    trial = _trial_cost(work.trial, work, known)
    # At most every trial but the first beats those before it, and is trained again.
    repeated = Range(
        least=work.repetitions,
        most=work.repetitions + (work.trials.most - 1 if work.confirms else 0),
    )
    search = _part(_ONE, work.base, base).plus(_part(work.trials.plus(repeated), work.trial, trial))
    finish, controls = _finish(work, known), _controls(work, known)
    hours = search.plus(finish).plus(controls).worker_hours
    stored = work.trials.plus(finish.trainings).plus(controls.trainings)
    return Forecast(
        trials=work.trials,
        controls=controls.trainings,
        search=search,
        finish=finish,
        worker_hours=hours,
        gpu_hours=hours and hours.times(work.resources.gpus_per_trial),
        disk_bytes=_disk_bytes(work.resources, trial, stored.most),
        basis=[
            *_basis(work.trial, base, trial),
            *((_OF_METHODS,) if work.searches_methods else ()),
            "the pool's training and failed attempts are not included",
        ],
    )


def forecast_distillation(work: DistillationWork, known: Known) -> Forecast:
    """Return stages, hours and disk space of a distillation."""
    stage = _trial_cost(work.stage, work, known)
    base = None if work.base is None else _trial_cost(work.base, work, known)
    stages = _part(work.stages, work.stage, stage)
    for swept in work.swept:
        stages = stages.plus(_part(work.order, swept, _trial_cost(swept, work, known)))
    search = stages
    if work.base is not None:
        search = _part(_ONE, work.base, base).plus(search)
    hours = search.worker_hours
    return Forecast(
        trials=stages.trainings,
        controls=_NONE,
        search=search,
        finish=_part(_NONE, work.stage, stage),
        worker_hours=hours,
        gpu_hours=hours and hours.times(work.resources.gpus_per_trial),
        disk_bytes=_disk_bytes(work.resources, stage, stages.trainings.most),
        basis=[
            *_basis(work.stage, base, stage),
            "each stage is counted as a stage with one teacher",
            "the pool's training, "
            + ("the measuring of adaptation costs " if work.measures_costs else "")
            + "and failed attempts are not included",
        ],
    )


def forecast_pool(work: PoolWork, known: Known) -> PoolForecast:
    """Return epochs, hours and disk space of a pool's training."""
    if not work.phases:
        return PoolForecast(
            epochs=0, worker_hours=0.0, gpu_hours=0.0, disk_bytes=None, basis=[_IMPORT]
        )
    costs = [
        forecast(
            phase,
            known.earlier,
            known.images,
            evaluated_areas=work.evaluated_areas if number == len(work.phases) else (),
            cpus=work.cpus_per_worker,
            what="phase",
        )
        for number, (_, phase) in enumerate(work.phases, start=1)
    ]
    found = [
        (name, cost) for (name, _), cost in zip(work.phases, costs, strict=True) if cost is not None
    ]
    hours = sum(cost.seconds for _, cost in found) / _HOUR_S if found else None
    weights = max((cost.stored_bytes for _, cost in found), default=None)
    basis = [f"phase {name}: {cost.explanation}" for name, cost in found] or [
        "no pool has trained on this data set, and its images are not counted yet: hours and bytes "
        "are not known"
    ]
    return PoolForecast(
        epochs=sum(phase.epochs for _, phase in work.phases),
        worker_hours=hours,
        gpu_hours=None if hours is None else hours * work.gpus_per_worker,
        disk_bytes=None if weights is None else weights * _SUPERNETS,
        basis=[
            *basis,
            "each step is counted as a step of the largest subnet; waiting for workers and failed "
            "attempts are not included",
        ],
    )


def _trial_cost(
    training: Training, work: SearchWork | DistillationWork, known: Known
) -> Cost | None:
    return forecast(
        training,
        known.earlier,
        known.images,
        evaluated_areas=work.evaluated_areas,
        cpus=work.resources.cpus_per_trial,
    )


def _part(trainings: Range, training: Training, cost: Cost | None) -> Part:
    return Part(
        trainings=trainings,
        epochs=trainings.times(training.epochs),
        worker_hours=None if cost is None else trainings.times(cost.seconds / _HOUR_S),
    )


def _finish(work: SearchWork, known: Known) -> Part:
    """Return the finishing trainings; at least the best is finished."""
    training = work.finish or work.trial
    most = 0 if work.finish is None else min(work.finished, work.trials.most)
    trainings = Range(least=min(1, most), most=most)
    return _part(trainings, training, _trial_cost(training, work, known))


def _controls(work: SearchWork, known: Known) -> Part:
    """Return the controls. A chain of equal MACs is left out where the best has as many MACs as the
    base."""
    chains = Range(least=min(1, work.control_chains), most=work.control_chains)
    length = Range(least=chains.least, most=chains.most * work.trials.most)
    control = replace(work.trial, has_teacher=False)
    trained = _part(length, control, _trial_cost(control, work, known))
    if work.finish is None:
        return trained
    finished = replace(work.finish, has_teacher=False)
    return trained.plus(_part(chains, finished, _trial_cost(finished, work, known)))


def _disk_bytes(resources: Resources, trial: Cost | None, trials: float) -> float | None:
    if trial is None:
        return None
    in_flight = min(resources.trials_in_flight, trials)
    checkpoints = _CHECKPOINTS_PER_TRIAL * CHECKPOINT_PER_WEIGHTS * in_flight
    return trial.stored_bytes * (1 + trials + checkpoints)


def _basis(training: Training, base: Cost | None, trial: Cost | None) -> list[str]:
    found = [f"trials: {trial.explanation}"] if trial else []
    found += [f"base: {base.explanation}"] if base else []
    if found:
        return found
    missing = "its images are not counted yet" if training.backbone else "the base is loaded"
    return [f"no trial has trained on this data set, and {missing}: hours and bytes are not known"]
