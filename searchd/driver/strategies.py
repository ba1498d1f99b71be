"""From what a user submitted to the rules that a search's strategy decides by."""

from typing import Any

from searchd.domain.distillation_plan import Plan
from searchd.domain.trial import PruneToMacs
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


def strategy_of(
    spec: SearchSpec | DistillationSpec, pool: PoolSpec | None, plan: Plan | None = None
) -> Strategy:
    """What a search or a distillation decides by, with its settings.

    Args:
        spec: What was submitted.
        pool: Of the teachers; a search has one.
        plan: Of a distillation, once it is made.
    """
    if isinstance(spec, DistillationSpec):
        return Progressive(seed=spec.seed, plan=plan)
    assert pool is not None
    return _search_strategy(spec, pool)


def _search_strategy(search: SearchSpec, pool: PoolSpec) -> Strategy:
    strategy, budget = search.strategy, search.budget
    space, seed = pool.space.space, search.seed
    noise_seeds = 1 if search.noise is None else search.noise.seeds
    limits = limits_of(budget, search.resources.gpus_per_trial)
    if isinstance(strategy, PipelineSpec):
        return Pipeline(
            space=space,
            seed=seed,
            max_trials=strategy.num_trials,
            limits=limits,
            noise_seeds=noise_seeds,
            control=search.control,
            prune=PruneToMacs(
                fraction=strategy.macs_fraction,
                macs=strategy.macs,
                min_channels=strategy.min_channels,
            ),
        )
    # The other specs' fields have the names of their rules' fields.
    values: dict[str, Any] = {
        **strategy.model_dump(exclude={"kind"}),
        "space": space,
        "seed": seed,
        "max_trials": budget.max_trials,
        "limits": limits,
        "noise_seeds": noise_seeds,
        "confirm": search.confirm,
    }
    if isinstance(strategy, JointDetNasSpec):
        return JointDetNas(
            **values,
            patience=budget.patience,
            control=search.control,
            abandon=search.abandon,
        )
    if isinstance(strategy, RandomSpec):
        return RandomSearch(**values, control=search.control)
    return PoolSearch(**values, patience=budget.patience)
