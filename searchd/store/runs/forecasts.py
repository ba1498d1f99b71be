"""What a search, a distillation or a pool will take, from its spec and from what earlier trials and
pools took."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from searchd.domain.architecture import Architecture
from searchd.domain.distillation_plan import OrderAlgorithm
from searchd.domain.lifecycle import PoolStatus, TrialStatus
from searchd.domain.trial import TrialRole
from searchd.search.cost_model import (
    CHECKPOINT_PER_WEIGHTS,
    Cost,
    Images,
    Measured,
    Training,
    forecast,
)
from searchd.spec import (
    DistillationSpec,
    PipelineSpec,
    PoolSpec,
    RandomSpec,
    ResourcesSpec,
    SearchSpec,
    TrainingSpec,
)
from searchd.store.models import (
    ArtifactRow,
    DatasetRow,
    EpochMetricsRow,
    PoolRow,
    RunRow,
    TrialRow,
)

_NUM_EARLIER = 200
"""Trials looked at, the latest ones."""
_HOUR_S = 3600.0
_SUPERNETS = 2 + 2 * CHECKPOINT_PER_WEIGHTS
"""Times the weights that a pool stores: the supernet, the one that teaches, two checkpoints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Between the shortest and the longest course that a search may take."""

    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a search will take; None where nothing is known to tell it from."""

    trials: Range
    """Of the search itself."""
    controls: Range
    worker_hours: Range | None
    gpu_hours: Range | None
    disk_bytes: float | None
    """At most: all students with their adapters, and the checkpoints of trials in flight. It stays
    below where what nothing needs is collected."""
    basis: list[str]
    """What it was told from, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolForecast:
    """What the training of a pool will take; None where nothing is known to tell it from."""

    epochs: int
    """Of all phases."""
    worker_hours: float | None
    """Of all workers together; they work side by side."""
    gpu_hours: float | None
    disk_bytes: float | None
    """At most: the supernet, the one that teaches, and two checkpoints."""
    basis: list[str]
    """What it was told from, in words."""


def of_search(session: Session, spec: SearchSpec) -> Forecast:
    """The forecast of a search that has not been submitted."""
    known = _Known.of(session, spec.dataset, spec.base.architecture, spec.resources)
    evaluated = [resolution.area for resolution in spec.trial.resolutions]
    trial = known.cost(spec.trial, evaluated, has_teacher=True)
    control = known.cost(spec.trial, evaluated, has_teacher=False)
    base = known.cost(spec.base.training, evaluated, has_teacher=False)
    trials = _trials(spec)
    controls = Range(least=1, most=trials.most) if spec.control else Range(least=0, most=0)
    repeated = 0 if spec.noise is None else spec.noise.seeds - 1
    # At most every trial but the first beats those before it, and is trained again.
    confirmed = trials.most - 1 if spec.confirm else 0
    hours = None
    if trial is not None and control is not None and base is not None:
        hours = Range(
            least=_hours(base, trial, control, trials.least + repeated, controls.least),
            most=_hours(base, trial, control, trials.most + repeated + confirmed, controls.most),
        )
    gpus = spec.resources.gpus_per_trial
    return Forecast(
        trials=trials,
        controls=controls,
        worker_hours=hours,
        gpu_hours=hours and Range(least=hours.least * gpus, most=hours.most * gpus),
        disk_bytes=_disk_bytes(spec.resources, trial, trials.most + controls.most),
        basis=[
            *_basis(known, base, trial),
            "the pool's training and failed attempts come on top",
        ],
    )


def of_distillation(session: Session, spec: DistillationSpec) -> Forecast:
    """The forecast of a distillation that has not been submitted."""
    known = _Known.of(session, spec.dataset, _student(session, spec), spec.resources)
    evaluated = [resolution.area for resolution in spec.trial.resolutions]
    stage = known.cost(spec.trial, evaluated, has_teacher=True)
    base = None
    if spec.base is not None:
        base = known.cost(spec.base.training, evaluated, has_teacher=False)
    stages = Range(least=spec.fewest_stages, most=spec.most_stages)
    hours = None
    if stage is not None and (base is not None or spec.base is None):
        first_s = base.seconds if base else 0.0
        hours = Range(
            least=(first_s + stages.least * stage.seconds) / _HOUR_S,
            most=(first_s + stages.most * stage.seconds) / _HOUR_S,
        )
    gpus = spec.resources.gpus_per_trial
    chooses = isinstance(spec.order, OrderAlgorithm)
    return Forecast(
        trials=stages,
        controls=Range(least=0, most=0),
        worker_hours=hours,
        gpu_hours=hours and Range(least=hours.least * gpus, most=hours.most * gpus),
        disk_bytes=_disk_bytes(spec.resources, stage, stages.most),
        basis=[
            *_basis(known, base, stage),
            "all stages are told as stages with one teacher",
            "the pool's training, "
            + ("the measuring of adaptation costs " if chooses else "")
            + "and failed attempts come on top",
        ],
    )


def of_pool(session: Session, spec: PoolSpec) -> PoolForecast:
    """The forecast of a pool that has not been created."""
    dataset = _dataset(session, spec.dataset)
    earlier = [] if dataset is None else _measured_pools(session, dataset.id)
    evaluated = [r.area for r in spec.space.resolutions] * spec.evaluated_subnets
    costs = [
        forecast(
            _phase(spec, phase.epochs, distils=phase.distil),
            earlier,
            _images(dataset),
            evaluated_areas=evaluated if phase is spec.phases[-1] else (),
            cpus=spec.cpus_per_worker,
            what="phase",
        )
        for phase in spec.phases
    ]
    found = [cost for cost in costs if cost is not None]
    hours = sum(cost.seconds for cost in found) / _HOUR_S if found else None
    return PoolForecast(
        epochs=sum(phase.epochs for phase in spec.phases),
        worker_hours=hours,
        gpu_hours=None if hours is None else hours * spec.gpus_per_worker,
        disk_bytes=max(cost.stored_bytes for cost in found) * _SUPERNETS if found else None,
        basis=[
            *_basis_of_phases(spec, costs),
            "every step is told as one of the largest subnet; waiting for workers and failed "
            "attempts come on top",
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the trials of a run that was not submitted are told from."""

    backbone: Architecture | None
    resources: ResourcesSpec
    dataset: DatasetRow | None
    earlier: Sequence[Measured]

    @classmethod
    def of(
        cls,
        session: Session,
        dataset: str,
        backbone: Architecture | None,
        resources: ResourcesSpec,
    ) -> "_Known":
        row = _dataset(session, dataset)
        earlier = [] if row is None else _measured(session, row.id)
        return cls(backbone=backbone, resources=resources, dataset=row, earlier=earlier)

    def cost(
        self, training: TrainingSpec, evaluated_areas: Sequence[float], *, has_teacher: bool
    ) -> Cost | None:
        """Of one trial."""
        gpus = self.resources.gpus_per_trial
        return forecast(
            _training(self.backbone, training, gpus, has_teacher=has_teacher),
            self.earlier,
            _images(self.dataset),
            evaluated_areas=evaluated_areas,
            cpus=self.resources.cpus_per_trial,
        )


def _student(session: Session, spec: DistillationSpec) -> Architecture | None:
    if spec.base is not None:
        return spec.base.architecture
    row = session.get(TrialRow, spec.student.trial)
    return row.detector.architecture if row is not None and row.detector is not None else None


def _dataset(session: Session, name: str) -> DatasetRow | None:
    return session.scalar(select(DatasetRow).where(DatasetRow.name == name))


def _trials(spec: SearchSpec) -> Range:
    """How many search trials there will be, unless hours or a target end it before."""
    if isinstance(spec.strategy, PipelineSpec):
        return Range(least=spec.strategy.num_trials, most=spec.strategy.num_trials)
    budget = spec.budget
    # Trial 0 has the first score; the earliest end is when none after it is better.
    least = budget.max_trials if isinstance(spec.strategy, RandomSpec) else budget.patience + 1
    ends_early = (budget.target, budget.max_worker_hours, budget.max_gpu_hours)
    if any(limit is not None for limit in (*ends_early, budget.max_wall_hours)):
        least = 1
    return Range(least=min(least, budget.max_trials), most=budget.max_trials)


def _training(
    backbone: Architecture | None, training: TrainingSpec, gpus: float, *, has_teacher: bool
) -> Training:
    return Training(
        backbone=backbone,
        has_teacher=has_teacher,
        on_gpu=gpus > 0,
        mean_area=mean(resolution.area for resolution in training.resolutions),
        epochs=training.epochs,
    )


def _phase(spec: PoolSpec, epochs: int, *, distils: bool) -> Training:
    space = spec.space.space
    return Training(
        backbone=space.architecture(space.largest),
        has_teacher=distils,
        on_gpu=spec.gpus_per_worker > 0,
        mean_area=mean(resolution.area for resolution in spec.space.resolutions),
        epochs=epochs,
    )


def _images(dataset: DatasetRow | None) -> Images | None:
    summary = None if dataset is None else dataset.summary
    if summary is None or "train" not in summary:
        return None
    return Images(
        train=summary["train"]["num_images"], validation=summary["validation"]["num_images"]
    )


def _measured(session: Session, dataset_id: str) -> list[Measured]:
    """What the latest trials of searches on a data set took."""
    rows = session.execute(
        select(TrialRow, RunRow)
        .join(RunRow, TrialRow.run_id == RunRow.id)
        .where(RunRow.dataset_id == dataset_id, TrialRow.status == TrialStatus.SUCCEEDED)
        .order_by(TrialRow.finished_at.desc())
        .limit(_NUM_EARLIER)
        .options(selectinload(TrialRow.epochs), selectinload(TrialRow.artifacts))
    )
    return [_measurement(trial, run.spec) for trial, run in rows if trial.epochs]


def _measurement(trial: TrialRow, spec: SearchSpec | DistillationSpec) -> Measured:
    base = spec.base if trial.role is TrialRole.BASE else None
    backbone = None if spec.base is None else spec.base.architecture
    if backbone is None and trial.detector is not None:
        backbone = trial.detector.architecture
    training = _training(
        backbone,
        spec.trial if base is None else base.training,
        spec.resources.gpus_per_trial,
        has_teacher=trial.proposal.teacher is not None,
    )
    trained_s = sum(epoch.duration_s for epoch in trial.epochs)
    return Measured(
        training=training,
        epoch_s=trained_s / len(trial.epochs),
        rest_s=max(0.0, trial.busy_s - trained_s),
        stored_bytes=sum(artifact.size_bytes for artifact in trial.artifacts),
    )


def _measured_pools(session: Session, dataset_id: str) -> list[Measured]:
    """What each phase of the latest pools on a data set took, in seconds of a worker. What they did
    besides is not told apart from waiting, and left out."""
    rows = session.scalars(
        select(PoolRow)
        .where(PoolRow.dataset_id == dataset_id, PoolRow.status == PoolStatus.READY)
        .order_by(PoolRow.finished_at.desc())
        .limit(_NUM_EARLIER)
    )
    return [found for row in rows for found in _measured_phases(session, row)]


def _measured_phases(session: Session, pool: PoolRow) -> Iterator[Measured]:
    files = session.scalars(select(ArtifactRow).where(ArtifactRow.pool_id == pool.id)).all()
    epochs = session.scalars(
        select(EpochMetricsRow).where(EpochMetricsRow.pool_id == pool.id)
    ).all()
    for phase in pool.spec.phases:
        taken = [epoch.duration_s for epoch in epochs if epoch.phase == phase.name]
        if taken:
            yield Measured(
                training=_phase(pool.spec, phase.epochs, distils=phase.distil),
                epoch_s=mean(taken) * pool.spec.num_workers,
                rest_s=0.0,
                stored_bytes=sum(file.size_bytes for file in files),
            )


def _hours(base: Cost, trial: Cost, control: Cost, trials: float, controls: float) -> float:
    return (base.seconds + trials * trial.seconds + controls * control.seconds) / _HOUR_S


def _disk_bytes(resources: ResourcesSpec, trial: Cost | None, trials: float) -> float | None:
    if trial is None:
        return None
    in_flight = min(resources.trials_in_flight, trials)
    checkpoints = 2 * CHECKPOINT_PER_WEIGHTS * in_flight  # the last epoch's, and a later one
    return trial.stored_bytes * (1 + trials + checkpoints)


def _basis_of_phases(spec: PoolSpec, costs: Sequence[Cost | None]) -> list[str]:
    found = [
        f"phase {phase.name}: {cost.explanation}"
        for phase, cost in zip(spec.phases, costs, strict=True)
        if cost is not None
    ]
    return found or [
        "no pool has trained on this data set, and its images are not counted yet: hours and bytes "
        "are not known"
    ]


def _basis(known: _Known, base: Cost | None, trial: Cost | None) -> list[str]:
    found = [f"trials: {trial.explanation}"] if trial else []
    found += [f"base: {base.explanation}"] if base else []
    if found:
        return found
    return [
        "no trial has trained on this data set, and "
        + ("its images are not counted yet" if known.backbone else "the base is loaded")
        + ": hours and bytes are not known"
    ]
