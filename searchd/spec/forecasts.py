"""From specs to what forecasts are computed from (`searchd.search.forecasts`)."""

from collections.abc import Sequence
from statistics import mean

from searchd.domain.architecture import Architecture
from searchd.domain.distillation_plan import OrderAlgorithm
from searchd.domain.resolution import Resolution
from searchd.search.cost_model import Training
from searchd.search.forecasts import DistillationWork, PoolWork, Range, Resources, SearchWork
from searchd.spec.budget import finishing_training
from searchd.spec.distillations import DistillationSpec
from searchd.spec.pool import PoolSpec, ShrinkPhaseSpec
from searchd.spec.search import SearchSpec
from searchd.spec.strategies import PipelineSpec, RandomSpec
from searchd.spec.training import ResourcesSpec, TrainingSpec


def search_work(spec: SearchSpec) -> SearchWork:
    """Return what a search trains."""
    backbone, gpus = spec.base.architecture, spec.resources.gpus_per_trial
    finish = spec.budget.finish
    return SearchWork(
        base=training_of(spec.base.training, backbone, gpus, has_teacher=False),
        trial=training_of(spec.trial, backbone, gpus, has_teacher=True),
        evaluated_areas=_areas(spec.trial.resolutions),
        finish=None
        if finish is None
        else training_of(finishing_training(spec.trial, finish), backbone, gpus, has_teacher=True),
        finished=0 if finish is None else finish.detectors,
        trials=_trials(spec),
        control_chains=spec.controls.equal_length + spec.controls.equal_macs,
        repetitions=0 if spec.noise is None else spec.noise.seeds - 1,
        confirms=spec.confirm,
        searches_methods=spec.distillation.search is not None,
        resources=_resources(spec.resources),
    )


def distillation_work(spec: DistillationSpec, student: Architecture | None) -> DistillationWork:
    """Return what a distillation trains.

    Args:
        spec: The distillation.
        student: The student's backbone; None if it is not known.
    """
    gpus, base = spec.resources.gpus_per_trial, spec.base
    stage, *swept = (
        training_of(each.trial, student, gpus, has_teacher=True) for each in spec.variants
    )
    return DistillationWork(
        base=None if base is None else training_of(base.training, student, gpus, has_teacher=False),
        stage=stage,
        evaluated_areas=_areas(spec.trial.resolutions),
        stages=Range(least=spec.fewest_stages, most=spec.most_stages),
        swept=swept,
        order=Range(least=spec.shortest_order, most=spec.longest_order),
        measures_costs=isinstance(spec.order, OrderAlgorithm),
        resources=_resources(spec.resources),
    )


def pool_work(spec: PoolSpec) -> PoolWork:
    """Return what a pool trains; an imported one has no phases."""
    phases = spec.phases if spec.source is None else ()
    return PoolWork(
        phases=[(phase.name, phase_of(spec, phase)) for phase in phases],
        evaluated_areas=_areas(spec.space.resolutions) * spec.evaluated_subnets,
        cpus_per_worker=spec.cpus_per_worker,
        gpus_per_worker=spec.gpus_per_worker,
    )


def training_of(
    training: TrainingSpec, backbone: Architecture | None, gpus: float, *, has_teacher: bool
) -> Training:
    """Return one trial's training as the cost model sees it.

    Args:
        training: The trial's training.
        backbone: The student's; None if it is not known.
        gpus: GPUs of the trial.
        has_teacher: Whether it distils.
    """
    return Training(
        backbone=backbone,
        has_teacher=has_teacher,
        on_gpu=gpus > 0,
        mean_area=mean(_areas(training.resolutions)),
        epochs=training.epochs,
    )


def phase_of(pool: PoolSpec, phase: ShrinkPhaseSpec) -> Training:
    """Return one phase of a pool's training as the cost model sees it."""
    space = pool.space.space
    return Training(
        backbone=space.architecture(space.largest),
        has_teacher=phase.distil,
        on_gpu=pool.gpus_per_worker > 0,
        # A sandwich sees every image with several subnets, which takes as long as more pixels.
        mean_area=mean(_areas(pool.space.resolutions)) * phase.subnets_per_step,
        epochs=phase.epochs,
    )


def _trials(spec: SearchSpec) -> Range:
    """Return the number of search trials, unless hours or a target end the search earlier."""
    if isinstance(spec.strategy, PipelineSpec):
        return Range(least=spec.strategy.num_trials, most=spec.strategy.num_trials)
    budget = spec.budget
    # Trial 0 has the first score; the earliest end is when none after it is better.
    least = budget.max_trials if isinstance(spec.strategy, RandomSpec) else budget.patience + 1
    ends_early = (budget.target, budget.max_worker_hours, budget.max_gpu_hours)
    if any(limit is not None for limit in (*ends_early, budget.max_wall_hours)):
        least = 1
    return Range(least=min(least, budget.max_trials), most=budget.max_trials)


def _resources(spec: ResourcesSpec) -> Resources:
    return Resources(
        trials_in_flight=spec.trials_in_flight,
        cpus_per_trial=spec.cpus_per_trial,
        gpus_per_trial=spec.gpus_per_trial,
    )


def _areas(resolutions: Sequence[Resolution]) -> list[float]:
    return [resolution.area for resolution in resolutions]
