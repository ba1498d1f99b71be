"""Which rules a search decides by, out of what was submitted."""

from searchd.domain.actions import LayerImportance
from searchd.domain.trial import PruneToMacs, TeacherPolicy
from searchd.driver.strategies import strategy_of
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.pipeline import Pipeline
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from searchd.spec import (
    BudgetSpec,
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    RandomSpec,
)
from tests.searchd.store import factories

POOL = factories.pool_spec()
SPACE = POOL.space.space
BUDGET = BudgetSpec(max_trials=9, patience=3)


def strategy(strategy: object) -> Strategy:
    spec = factories.search_spec(strategy=strategy, budget=BUDGET, seed=5, control=False)
    return strategy_of(spec, POOL)


def test_joint_detnas_has_every_setting() -> None:
    spec = JointDetNasSpec(
        top_k=2,
        student_frozen_trials=1,
        student_probability=0.25,
        actions=("prune_layer",),
        prune_fraction=0.1,
        min_channels=4,
        layer_importance=LayerImportance.L1_SUM,
        teacher_policy=TeacherPolicy.FIXED,
        another_gene_probability=0.5,
    )
    assert strategy(spec) == JointDetNas(
        space=SPACE,
        seed=5,
        max_trials=9,
        patience=3,
        control=False,
        top_k=2,
        student_frozen_trials=1,
        student_probability=0.25,
        actions=("prune_layer",),
        prune_fraction=0.1,
        min_channels=4,
        layer_importance=LayerImportance.L1_SUM,
        teacher_policy=TeacherPolicy.FIXED,
        another_gene_probability=0.5,
    )


def test_random_search_has_the_same_settings_but_no_patience() -> None:
    spec = RandomSpec(prune_fraction=0.1, teacher_policy=TeacherPolicy.RANDOM)
    assert strategy(spec) == RandomSearch(
        space=SPACE,
        seed=5,
        max_trials=9,
        control=False,
        prune_fraction=0.1,
        teacher_policy=TeacherPolicy.RANDOM,
    )


def test_pool_search_has_no_controls() -> None:
    spec = factories.search_spec(strategy=PoolSearchSpec(top_k=2), budget=BUDGET, control=True)
    assert strategy_of(spec, POOL) == PoolSearch(
        space=SPACE, max_trials=9, patience=3, top_k=2, control=False
    )


def test_pipeline_ends_after_its_own_number_of_trials() -> None:
    spec = PipelineSpec(macs_fraction=None, macs=1e9, min_channels=4, further_trials=2)
    assert strategy(spec) == Pipeline(
        space=SPACE,
        seed=5,
        max_trials=3,
        control=False,
        prune=PruneToMacs(macs=1e9, min_channels=4),
    )
