"""The strategy of a run, from what the user submitted."""

from typing import TypedDict

from searchd.domain.distillation_plan import Plan
from searchd.domain.subnet import SubnetSpace
from searchd.search.stopping_criteria import Limits
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.pipeline import Pipeline
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.progressive_distillation import Progressive
from searchd.search.strategies.random_search import RandomSearch
from searchd.spec import (
    DistillationSpec,
    JointDetNasSpec,
    PipelineSpec,
    PoolSpec,
    RandomSpec,
    SearchSpec,
)
from searchd.spec.search import limits_of


class _Shared(TypedDict):
    """What every strategy of a search is given, besides its settings."""

    space: SubnetSpace
    seed: int
    limits: Limits
    noise_seeds: int
    confirm: bool


def strategy_of(
    spec: SearchSpec | DistillationSpec, pool: PoolSpec | None, plan: Plan | None = None
) -> Strategy:
    """Return the strategy of a run, with its settings.

    Args:
        spec: What was submitted.
        pool: The pool of the teachers; a search has one.
        plan: The plan of a distillation, once it is made.
    """
    if isinstance(spec, DistillationSpec):
        return Progressive(seed=spec.seed, plan=plan)
    assert pool is not None
    return _search_strategy(spec, pool)


def _search_strategy(search: SearchSpec, pool: PoolSpec) -> Strategy:
    settings, budget = search.strategy, search.budget
    shared = _Shared(
        space=pool.space.space,
        seed=search.seed,
        limits=limits_of(budget, search.resources.gpus_per_trial),
        noise_seeds=1 if search.noise is None else search.noise.seeds,
        confirm=search.confirm,
    )
    if isinstance(settings, PipelineSpec):
        return Pipeline(
            settings=settings, max_trials=settings.num_trials, control=search.control, **shared
        )
    if isinstance(settings, JointDetNasSpec):
        return JointDetNas(
            settings=settings,
            max_trials=budget.max_trials,
            patience=budget.patience,
            control=search.control,
            abandon=search.abandon,
            **shared,
        )
    if isinstance(settings, RandomSpec):
        return RandomSearch(
            settings=settings, max_trials=budget.max_trials, control=search.control, **shared
        )
    return PoolSearch(
        settings=settings, max_trials=budget.max_trials, patience=budget.patience, **shared
    )
