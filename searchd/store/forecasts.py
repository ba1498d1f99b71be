"""What a search will take, from its spec and from what earlier trials took."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import TrialRole
from searchd.search.forecast import (
    CHECKPOINT_PER_WEIGHTS,
    Cost,
    Images,
    Measured,
    Training,
    forecast,
)
from searchd.spec import PipelineSpec, RandomSpec, SearchSpec, TrainingSpec
from searchd.store.models import DatasetRow, RunRow, TrialRow

_NUM_EARLIER = 200
"""Trials looked at, the latest ones."""
_HOUR_S = 3600.0


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


def of_search(session: Session, spec: SearchSpec) -> Forecast:
    """The forecast of a search that has not been submitted."""
    dataset = session.scalar(select(DatasetRow).where(DatasetRow.name == spec.dataset))
    earlier = [] if dataset is None else _measured(session, dataset.id)
    trial = _cost(spec, spec.trial, earlier, dataset, has_teacher=True)
    control = _cost(spec, spec.trial, earlier, dataset, has_teacher=False)
    base = _cost(spec, spec.base.training, earlier, dataset, has_teacher=False)
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
        disk_bytes=None if trial is None else _disk_bytes(spec, trial, trials, controls),
        basis=_basis(spec, base, trial),
    )


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


def _cost(
    spec: SearchSpec,
    training: TrainingSpec,
    earlier: Sequence[Measured],
    dataset: DatasetRow | None,
    *,
    has_teacher: bool,
) -> Cost | None:
    return forecast(
        _training(spec, training, has_teacher=has_teacher),
        earlier,
        _images(dataset),
        evaluated_areas=[resolution.area for resolution in spec.trial.resolutions],
        cpus=spec.resources.cpus_per_trial,
    )


def _training(spec: SearchSpec, training: TrainingSpec, *, has_teacher: bool) -> Training:
    return Training(
        backbone=spec.base.architecture,
        has_teacher=has_teacher,
        on_gpu=spec.resources.gpus_per_trial > 0,
        mean_area=mean(resolution.area for resolution in training.resolutions),
        epochs=training.epochs,
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
        .join(RunRow, TrialRow.search_id == RunRow.id)
        .where(RunRow.dataset_id == dataset_id, TrialRow.status == TrialStatus.SUCCEEDED)
        .order_by(TrialRow.finished_at.desc())
        .limit(_NUM_EARLIER)
        .options(selectinload(TrialRow.epochs), selectinload(TrialRow.artifacts))
    )
    return [
        _measurement(trial, run.spec)
        for trial, run in rows
        if trial.epochs and isinstance(run.spec, SearchSpec)
    ]


def _measurement(trial: TrialRow, spec: SearchSpec) -> Measured:
    is_base = trial.role is TrialRole.BASE
    training = _training(
        spec,
        spec.base.training if is_base else spec.trial,
        has_teacher=trial.proposal.teacher is not None,
    )
    trained_s = sum(epoch.duration_s for epoch in trial.epochs)
    return Measured(
        training=training,
        epoch_s=trained_s / len(trial.epochs),
        rest_s=max(0.0, trial.busy_s - trained_s),
        stored_bytes=sum(artifact.size_bytes for artifact in trial.artifacts),
    )


def _hours(base: Cost, trial: Cost, control: Cost, trials: float, controls: float) -> float:
    return (base.seconds + trials * trial.seconds + controls * control.seconds) / _HOUR_S


def _disk_bytes(spec: SearchSpec, trial: Cost, trials: Range, controls: Range) -> float:
    in_flight = min(spec.resources.trials_in_flight, trials.most)
    checkpoints = 2 * CHECKPOINT_PER_WEIGHTS * in_flight  # the last epoch's, and a later one
    return trial.stored_bytes * (1 + trials.most + controls.most + checkpoints)


def _basis(spec: SearchSpec, base: Cost | None, trial: Cost | None) -> list[str]:
    found = [f"trials: {trial.explanation}"] if trial else []
    found += [f"base: {base.explanation}"] if base else []
    if not found:
        found = [
            "no trial has trained on this data set, and "
            + ("its images are not counted yet" if spec.base.architecture else "the base is loaded")
            + ": hours and bytes are not known"
        ]
    return [*found, "the pool's training and failed attempts come on top"]
