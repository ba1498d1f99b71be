"""The strategy of a search, from what was submitted."""

from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import PruneToMacs, TeacherPolicy
from searchd.driver.strategies import strategy_of
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.pipeline import Pipeline
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from searchd.spec import (
    BudgetSpec,
    FinishBudgetSpec,
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    RandomSpec,
    TeachersSpec,
)
from tests.searchd.store import factories

POOL = factories.pool_spec()
SPACE = POOL.space.space
BUDGET = BudgetSpec(max_trials=9, patience=3, finish=None)


def strategy(strategy: object) -> Strategy:
    spec = factories.search_spec(strategy=strategy, budget=BUDGET, seed=5, control=False)
    return strategy_of(spec, POOL)


def test_joint_detnas_has_the_settings_that_were_submitted() -> None:
    submitted = JointDetNasSpec(top_k=2, prune_fraction=0.1, teacher_policy=TeacherPolicy.FIXED)
    assert strategy(submitted) == JointDetNas(
        space=SPACE, seed=5, max_trials=9, patience=3, control=False, settings=submitted
    )


def test_random_search_has_no_patience() -> None:
    submitted = RandomSpec(prune_fraction=0.1, teacher_policy=TeacherPolicy.RANDOM)
    assert strategy(submitted) == RandomSearch(
        space=SPACE, seed=5, max_trials=9, control=False, settings=submitted
    )


def test_pool_search_has_no_controls() -> None:
    submitted = PoolSearchSpec(top_k=2)
    spec = factories.search_spec(strategy=submitted, budget=BUDGET, control=True)
    assert strategy_of(spec, POOL) == PoolSearch(
        space=SPACE, max_trials=9, patience=3, control=False, settings=submitted
    )


def test_controls_are_chosen_by_kind() -> None:
    both = {"equal_length": True, "equal_macs": True}
    pruned = {"equal_length": False, "equal_macs": True}
    found = []
    for control in (True, False, {}, both, pruned):
        made = strategy_of(
            factories.search_spec(control=control, strategy=JointDetNasSpec(min_channels=4)), POOL
        )
        found.append((made.control, made.macs_control))

    assert found == [(True, None), (False, None), (True, None), (True, 4), (False, 4)]


def test_finishing_is_on_unless_it_is_switched_off_or_nothing_is_trained() -> None:
    found = [
        strategy_of(factories.search_spec(budget=budget, strategy=kind), POOL).finish
        for budget, kind in (
            (BudgetSpec(), JointDetNasSpec()),
            (BudgetSpec(finish=FinishBudgetSpec(detectors=5)), RandomSpec()),
            (BudgetSpec(), PipelineSpec()),
            (BUDGET, JointDetNasSpec()),
            (BudgetSpec(), PoolSearchSpec()),
        )
    ]

    assert found == [3, 5, 3, 0, 0]


def test_registered_teachers_are_drawn_with_the_share_of_the_search() -> None:
    strong = RegisteredTeacher(teacher="t-1")
    teachers = TeachersSpec(registered=("strong",), registered_share=0.2)
    both = strategy_of(factories.search_spec(teachers=teachers), POOL, registered=[strong])
    alone = strategy_of(
        factories.search_spec(pool=None, teachers=teachers), None, registered=[strong]
    )
    assert isinstance(both, JointDetNas)
    assert isinstance(alone, JointDetNas)
    assert (both.space, both.registered, both.registered_share) == (SPACE, (strong,), 0.2)
    assert (alone.space, alone.registered) == (None, (strong,))


def test_pipeline_ends_after_its_own_number_of_trials() -> None:
    submitted = PipelineSpec(macs_fraction=None, macs=1e9, min_channels=4, further_trials=2)
    found = strategy(submitted)
    assert isinstance(found, Pipeline)
    assert found == Pipeline(space=SPACE, seed=5, max_trials=3, control=False, settings=submitted)
    assert found.prune == PruneToMacs(macs=1e9, min_channels=4)


def test_channels_are_multiples_of_what_the_device_likes_unless_the_search_says_otherwise() -> None:
    made = [
        strategy_of(factories.search_spec(strategy=submitted), POOL, device_round_to=8)
        for submitted in (
            JointDetNasSpec(),
            JointDetNasSpec(round_to=4),
            JointDetNasSpec(round_to=1),
        )
    ]
    assert [each.round_to for each in made] == [8, 4, 1]
    assert strategy_of(factories.search_spec(), POOL).round_to == 1
