"""The strategy of a run, from what the user submitted."""

from collections.abc import Sequence
from typing import TypedDict

from searchd.domain.actions import ChannelImportance
from searchd.domain.distillation_plan import Plan
from searchd.domain.score import Cost
from searchd.domain.subnet import SubnetSpace
from searchd.domain.teacher import RegisteredTeacher, TeacherAp
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
    PoolSearchSpec,
    PoolSpec,
    SearchSpec,
    TeachersSpec,
)
from searchd.spec.budget import limits_of


class _Shared(TypedDict):
    """What every strategy of a search is given, besides its settings."""

    seed: int
    limits: Limits
    noise_seeds: int
    confirm: bool


class _Taught(_Shared):
    """What every strategy is given whose students have teachers."""

    space: SubnetSpace | None
    registered: tuple[RegisteredTeacher, ...]
    registered_share: float
    measured: tuple[TeacherAp, ...] | None
    control: bool
    macs_control: int | None
    cost: Cost
    round_to: int
    channel_importance: ChannelImportance
    finish: int


def strategy_of(
    spec: SearchSpec | DistillationSpec,
    pool: PoolSpec | None,
    plan: Plan | None = None,
    *,
    registered: Sequence[RegisteredTeacher] = (),
    measured: Sequence[TeacherAp] | None = None,
    device_round_to: int = 1,
) -> Strategy:
    """Return the strategy of a run, with its settings.

    Args:
        spec: What was submitted.
        pool: The pool of the teachers; None if no teacher is a subnet.
        plan: The plan of a distillation, once it is made.
        registered: The registered teachers of a search.
        measured: APs of the teachers of a search that were known before its first search trial;
            None if they were not recorded.
        device_round_to: Multiple of channels that the device of a search computes best; 1 without
            a device.
    """
    if isinstance(spec, DistillationSpec):
        return Progressive(seed=spec.seed, plan=plan, swept=spec.swept)
    space = None if pool is None else pool.space.space
    known = None if measured is None else tuple(measured)
    return _search_strategy(spec, space, registered, known, device_round_to)


def _search_strategy(
    search: SearchSpec,
    space: SubnetSpace | None,
    registered: Sequence[RegisteredTeacher],
    measured: tuple[TeacherAp, ...] | None,
    device_round_to: int,
) -> Strategy:
    settings, budget = search.strategy, search.budget
    shared = _Shared(
        seed=search.seed,
        limits=limits_of(budget, search.resources.gpus_per_trial),
        noise_seeds=1 if search.noise is None else search.noise.seeds,
        confirm=search.confirm,
    )
    if isinstance(settings, PoolSearchSpec):
        assert space is not None  # a spec with this strategy has a pool
        return PoolSearch(
            space=space,
            settings=settings,
            max_trials=budget.max_trials,
            patience=budget.patience,
            **shared,
        )
    taught = _Taught(
        space=space,
        registered=tuple(registered),
        registered_share=(search.teachers or TeachersSpec()).registered_share,
        measured=measured,
        control=search.controls.equal_length,
        macs_control=settings.min_channels if search.controls.equal_macs else None,
        cost=search.score.cost,
        round_to=settings.round_to or device_round_to,
        channel_importance=settings.channel_importance,
        finish=0 if budget.finish is None else budget.finish.detectors,
        **shared,
    )
    if isinstance(settings, PipelineSpec):
        return Pipeline(settings=settings, max_trials=settings.num_trials, **taught)
    genes = search.distillation.genes(two_stage=search.head.family.two_stage)
    if isinstance(settings, JointDetNasSpec):
        return JointDetNas(
            settings=settings,
            genes=genes,
            max_trials=budget.max_trials,
            patience=budget.patience,
            abandon=search.abandon,
            rungs=search.rungs,
            **taught,
        )
    return RandomSearch(settings=settings, genes=genes, max_trials=budget.max_trials, **taught)
