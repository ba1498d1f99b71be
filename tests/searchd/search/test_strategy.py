"""What all strategies share: the base first, then search trials, then controls, all replayable."""

import random
from dataclasses import replace

import pytest

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import Proposal, PruneToMacs, TeacherPolicy, Train, TrialRole
from searchd.search.history import lineage, ranking
from searchd.search.strategies.base import Rules
from searchd.search.strategies.joint_detnas import JointDetNas
from searchd.search.strategies.pipeline import Pipeline
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from searchd.search.strategy import Finished, Strategy, Wait, replay
from tests.searchd.search.scripted import (
    RULES,
    SPACE,
    ask,
    completion,
    rising,
    run,
    with_base,
)

EVERY_STRATEGY = (
    JointDetNas(space=SPACE, max_trials=30, patience=30, min_channels=4),
    JointDetNas(space=SPACE, max_trials=20, teacher_policy=TeacherPolicy.FIXED),
    JointDetNas(space=SPACE, max_trials=20, teacher_policy=TeacherPolicy.RANDOM),
    JointDetNas(space=SPACE, max_trials=20, teacher_policy=TeacherPolicy.NEAREST, min_channels=4),
    RandomSearch(space=SPACE, max_trials=20, min_channels=4),
    PoolSearch(space=SPACE, max_trials=30, patience=30),
    Pipeline(space=SPACE, max_trials=5, prune=PruneToMacs(fraction=0.7)),
)


def test_base_is_proposed_first_and_everything_waits_for_it() -> None:
    strategy = Strategy(RULES)
    base = ask(strategy)
    assert (base.role, base.parent, base.teacher) == (TrialRole.BASE, None, None)
    assert strategy.ask() == Wait("the base detector is being trained")
    assert not strategy.has_base
    strategy.tell(completion(strategy, base, 0.3))
    assert strategy.has_base


def test_search_ends_when_the_base_fails() -> None:
    strategy = Strategy(RULES)
    strategy.tell(completion(strategy, ask(strategy), None))
    assert strategy.ask() == Finished("the base detector could not be trained", succeeded=False)


def test_search_ends_with_its_budget_and_then_trains_a_control_as_long_as_the_best() -> None:
    strategy = with_base()
    finished = run(strategy, rising, in_flight=1, order=random.Random(0))
    assert finished == Finished("budget: 12 trials", succeeded=True)
    best = ranking(strategy.completions)[0].proposal
    assert best.name == "11"
    controls = [p for p in strategy.proposals if p.role is TrialRole.CONTROL]
    assert len(controls) == len(lineage("11", strategy.proposals)) - 1
    assert [p.parent for p in controls] == ["base", *(p.name for p in controls[:-1])]
    assert {(p.change, p.teacher) for p in controls} == {(Train(), None)}


def test_control_waits_for_the_last_trials_and_for_its_predecessor() -> None:
    strategy = with_base(replace(RULES, max_trials=2))
    first, second = ask(strategy), ask(strategy)
    strategy.tell(completion(strategy, first, 0.4))
    assert strategy.ask() == Wait("the last trials are running")
    strategy.tell(completion(strategy, second, 0.5))
    control = ask(strategy)
    assert control.role is TrialRole.CONTROL
    assert strategy.ask() == Wait("the control is being trained")
    strategy.tell(completion(strategy, control, None))
    assert strategy.ask() == Finished("budget: 2 trials", succeeded=True)


def test_search_without_any_success_says_so() -> None:
    strategy = with_base(replace(RULES, max_trials=1))
    strategy.tell(completion(strategy, ask(strategy), None))
    assert strategy.ask() == Finished("budget: 1 trials, but no trial succeeded", succeeded=False)


@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("rules", EVERY_STRATEGY)
def test_replaying_the_recorded_completions_reproduces_every_proposal(
    rules: Rules, in_flight: int
) -> None:
    strategy = with_base(rules)
    noise = random.Random(3)

    finished = run(strategy, lambda _: noise.random(), in_flight=in_flight, order=random.Random(5))

    assert finished.succeeded
    assert replay(strategy.rules, strategy.proposals, strategy.completions) == strategy.proposals


@pytest.mark.parametrize("rules", EVERY_STRATEGY)
def test_search_whose_trials_sometimes_fail_still_ends_and_can_be_replayed(rules: Rules) -> None:
    strategy = with_base(rules)

    def every_third_fails(proposal: Proposal) -> float | None:
        return None if proposal.number % 3 == 2 else rising(proposal)

    run(strategy, every_third_fails, in_flight=3, order=random.Random(1))

    assert strategy.in_flight == []
    assert replay(strategy.rules, strategy.proposals, strategy.completions) == strategy.proposals


def test_interrupted_search_goes_on_as_if_it_had_not_been() -> None:
    whole = with_base()
    run(whole, rising, in_flight=1, order=random.Random(0))
    resumed = Strategy(RULES, list(whole.proposals[:5]), list(whole.completions[:5]))
    assert resumed.in_flight == []
    run(resumed, rising, in_flight=1, order=random.Random(0))
    assert resumed.proposals == whole.proposals


@pytest.mark.parametrize("in_flight", [1, 3])
def test_extended_search_goes_on_after_its_controls_and_can_be_replayed(in_flight: int) -> None:
    strategy = with_base(replace(RULES, max_trials=4))
    run(strategy, rising, in_flight, random.Random(0))
    controls = sum(p.role is TrialRole.CONTROL for p in strategy.proposals)
    assert controls > 0

    strategy.rules = replace(RULES, max_trials=9)
    finished = run(strategy, rising, in_flight, random.Random(0))

    assert finished == Finished("budget: 9 trials", succeeded=True)
    later = strategy.proposals[5 + controls :]
    assert [p.name for p in later[:5]] == ["4", "5", "6", "7", "8"]
    # Controls that are trained stay; only those are added that a longer lineage calls for.
    assert [p.name for p in later[5:]] == [
        f"control-{number}" for number in range(controls + 1, len(lineage("8", strategy.proposals)))
    ]
    assert replay(strategy.rules, strategy.proposals, strategy.completions) == strategy.proposals


def test_search_that_converged_goes_on_with_more_patience() -> None:
    strategy = with_base(replace(RULES, patience=2, control=False))
    assert run(strategy, lambda _: 0.5, 1, random.Random(0)).reason.startswith("converged: 2")
    strategy.rules = replace(RULES, patience=5, control=False)
    assert run(strategy, lambda _: 0.5, 1, random.Random(0)).reason.startswith("converged: 5")
    assert [p.name for p in strategy.proposals[1:]] == ["0", "1", "2", "3", "4", "5"]
    assert replay(strategy.rules, strategy.proposals, strategy.completions) == strategy.proposals


def test_completion_must_be_told_in_order_and_once() -> None:
    strategy = with_base()
    trial = ask(strategy)
    with pytest.raises(InvalidValueError, match="completion 5 was told out of order; expected 1"):
        strategy.tell(replace(completion(strategy, trial, 0.1), sequence=5))
    strategy.tell(completion(strategy, trial, 0.1))
    with pytest.raises(InvalidValueError, match="trial 0 is not in flight"):
        strategy.tell(completion(strategy, trial, 0.1))
