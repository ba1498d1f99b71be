"""What the database knows of earlier trials and pools, for forecasts of new ones."""

from collections.abc import Iterator
from statistics import mean

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from searchd.domain.architecture import Architecture
from searchd.domain.lifecycle import PoolStatus, TrialStatus
from searchd.domain.trial import TrialRole
from searchd.search.cost_model import Images, Measured
from searchd.search.forecasts import (
    Forecast,
    Known,
    PoolForecast,
    forecast_distillation,
    forecast_pool,
    forecast_search,
)
from searchd.spec import DistillationSpec, PoolSpec, SearchSpec
from searchd.spec.forecasts import distillation_work, phase_of, pool_work, search_work, training_of
from searchd.store.models import (
    ArtifactRow,
    DatasetRow,
    EpochMetricsRow,
    PoolRow,
    RunRow,
    TrialRow,
)

_NUM_EARLIER = 200
"""The number of trials, or pools, that are read: the latest ones."""


def of_search(session: Session, spec: SearchSpec) -> Forecast:
    """Return the forecast of a search that has not been submitted."""
    return forecast_search(search_work(spec), _trials_on(session, spec.dataset))


def of_distillation(session: Session, spec: DistillationSpec) -> Forecast:
    """Return the forecast of a distillation that has not been submitted."""
    work = distillation_work(spec, _student(session, spec))
    return forecast_distillation(work, _trials_on(session, spec.dataset))


def of_pool(session: Session, spec: PoolSpec) -> PoolForecast:
    """Return the forecast of a pool that has not been created."""
    return forecast_pool(pool_work(spec), _pools_on(session, spec.dataset))


def train_images(session: Session, dataset: str) -> int | None:
    """Return the number of training images of a data set, by its name; None if there is no such
    data set, or while they are not counted."""
    row = _dataset(session, dataset)
    found = None if row is None else _images(row)
    return None if found is None else found.train


def _trials_on(session: Session, dataset: str) -> Known:
    """Read what the latest trials on a data set took, by the data set's name."""
    row = _dataset(session, dataset)
    if row is None:
        return Known(images=None, earlier=())
    found = session.execute(
        select(TrialRow, RunRow)
        .join(RunRow, TrialRow.run_id == RunRow.id)
        .where(RunRow.dataset_id == row.id, TrialRow.status == TrialStatus.SUCCEEDED)
        .order_by(TrialRow.finished_at.desc())
        .limit(_NUM_EARLIER)
        .options(selectinload(TrialRow.epochs), selectinload(TrialRow.artifacts))
    )
    measured = [_measured_trial(trial, run.spec) for trial, run in found if trial.epochs]
    return Known(images=_images(row), earlier=measured)


def _pools_on(session: Session, dataset: str) -> Known:
    """Read what each phase of the latest pools on a data set took, in seconds of one worker."""
    row = _dataset(session, dataset)
    if row is None:
        return Known(images=None, earlier=())
    pools = session.scalars(
        select(PoolRow)
        .where(PoolRow.dataset_id == row.id, PoolRow.status == PoolStatus.READY)
        .order_by(PoolRow.finished_at.desc())
        .limit(_NUM_EARLIER)
    )
    measured = [phase for pool in pools for phase in _measured_phases(session, pool)]
    return Known(images=_images(row), earlier=measured)


def _student(session: Session, spec: DistillationSpec) -> Architecture | None:
    if spec.base is not None:
        return spec.base.architecture
    row = session.get(TrialRow, spec.student.trial)
    return row.detector.architecture if row is not None and row.detector is not None else None


def _dataset(session: Session, name: str) -> DatasetRow | None:
    return session.scalar(select(DatasetRow).where(DatasetRow.name == name))


def _images(dataset: DatasetRow) -> Images | None:
    summary = dataset.summary
    if summary is None or "train" not in summary:
        return None
    return Images(
        train=summary["train"]["num_images"], validation=summary["validation"]["num_images"]
    )


def _measured_trial(trial: TrialRow, spec: SearchSpec | DistillationSpec) -> Measured:
    base = spec.base if trial.role is TrialRole.BASE else None
    backbone = None if spec.base is None else spec.base.architecture
    if backbone is None and trial.detector is not None:
        backbone = trial.detector.architecture
    trained_s = sum(epoch.duration_s for epoch in trial.epochs)
    return Measured(
        training=training_of(
            spec.trial if base is None else base.training,
            backbone,
            spec.resources.gpus_per_trial,
            has_teacher=trial.proposal.teacher is not None,
        ),
        epoch_s=trained_s / len(trial.epochs),
        rest_s=max(0.0, trial.busy_s - trained_s),
        stored_bytes=sum(artifact.size_bytes for artifact in trial.artifacts),
    )


def _measured_phases(session: Session, pool: PoolRow) -> Iterator[Measured]:
    """Only the epochs count: other work of a pool cannot be distinguished from waiting."""
    files = session.scalars(select(ArtifactRow).where(ArtifactRow.pool_id == pool.id)).all()
    epochs = session.scalars(
        select(EpochMetricsRow).where(EpochMetricsRow.pool_id == pool.id)
    ).all()
    for phase in pool.spec.phases:
        taken = [epoch.duration_s for epoch in epochs if epoch.phase == phase.name]
        if taken:
            yield Measured(
                training=phase_of(pool.spec, phase),
                epoch_s=mean(taken) * pool.spec.num_workers,
                rest_s=0.0,
                stored_bytes=sum(file.size_bytes for file in files),
            )
