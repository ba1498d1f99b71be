"""What all strategies share: the base first, then search trials, then controls, all replayable."""

import random
from dataclasses import replace

import pytest

from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_set import MethodSet, WeightedMethod
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import Proposal, TeacherPolicy, Train, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait, replay
from searchd.search.history import lineage, ranking
from searchd.search.method_genes import MethodGenes
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.pipeline import Pipeline, PipelineSettings
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from tests.searchd.search.scripted import (
    SPACE,
    STRATEGY,
    ask,
    completion,
    rising,
    run,
    with_base,
)

REGISTERED = (RegisteredTeacher(teacher="t-1"), RegisteredTeacher(teacher="t-2"))
SGFI, CWD = (WeightedMethod(name=name, weight=2.0) for name in (MethodName.SGFI, MethodName.CWD))
GENES = MethodGenes(
    start=MethodSet(methods=(SGFI,)),
    allowed=(SGFI, CWD),
    factors=(0.5, 1.0),
    max_methods=2,
    probability=0.5,
)
EVERY_STRATEGY = (
    JointDetNas(
        space=SPACE, max_trials=30, patience=30, settings=JointDetNasSettings(min_channels=4)
    ),
    JointDetNas(
        space=SPACE, max_trials=20, settings=JointDetNasSettings(teacher_policy=TeacherPolicy.FIXED)
    ),
    JointDetNas(
        space=SPACE,
        max_trials=20,
        settings=JointDetNasSettings(teacher_policy=TeacherPolicy.RANDOM),
    ),
    JointDetNas(
        space=SPACE,
        max_trials=20,
        settings=JointDetNasSettings(teacher_policy=TeacherPolicy.NEAREST, min_channels=4),
    ),
    RandomSearch(space=SPACE, max_trials=20, settings=PairSettings(min_channels=4)),
    PoolSearch(space=SPACE, max_trials=30, patience=30),
    Pipeline(space=SPACE, max_trials=5, settings=PipelineSettings(macs_fraction=0.7)),
    JointDetNas(space=SPACE, registered=REGISTERED, registered_share=0.3, max_trials=30),
    JointDetNas(registered=REGISTERED, max_trials=30, settings=JointDetNasSettings(min_channels=4)),
    JointDetNas(
        registered=REGISTERED[:1],
        max_trials=20,
        settings=JointDetNasSettings(teacher_policy=TeacherPolicy.FIXED),
    ),
    RandomSearch(
        space=SPACE,
        registered=REGISTERED,
        max_trials=20,
        settings=PairSettings(teacher_policy=TeacherPolicy.RANDOM),
    ),
    Pipeline(registered=REGISTERED[:1], max_trials=5),
    JointDetNas(space=SPACE, registered=REGISTERED, genes=GENES, max_trials=30),
    RandomSearch(
        registered=REGISTERED[:1], genes=GENES, max_trials=20, settings=PairSettings(min_channels=4)
    ),
)


def test_base_is_proposed_first_and_everything_waits_for_it() -> None:
    ask_tell = AskTell(STRATEGY)
    base = ask(ask_tell)
    assert (base.role, base.parent, base.teacher) == (TrialRole.BASE, None, None)
    assert ask_tell.ask() == Wait("the base detector is being trained")
    assert not ask_tell.has_base
    ask_tell.tell(completion(ask_tell, base, 0.3))
    assert ask_tell.has_base


def test_search_ends_when_the_base_fails() -> None:
    ask_tell = AskTell(STRATEGY)
    ask_tell.tell(completion(ask_tell, ask(ask_tell), None))
    assert ask_tell.ask() == Finished("the base detector could not be trained", succeeded=False)


def test_search_ends_with_its_budget_and_then_trains_a_control_as_long_as_the_best() -> None:
    ask_tell = with_base()
    finished = run(ask_tell, rising, in_flight=1, order=random.Random(0))
    assert finished == Finished("budget: 12 trials", succeeded=True)
    best = ranking(ask_tell.completions)[0].proposal
    assert best.name == "11"
    controls = [p for p in ask_tell.proposals if p.role is TrialRole.CONTROL]
    assert len(controls) == len(lineage("11", ask_tell.proposals)) - 1
    assert [p.parent for p in controls] == ["base", *(p.name for p in controls[:-1])]
    assert {(p.change, p.teacher) for p in controls} == {(Train(), None)}


def test_control_waits_for_the_last_trials_and_for_its_predecessor() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=2))
    first, second = ask(ask_tell), ask(ask_tell)
    ask_tell.tell(completion(ask_tell, first, 0.4))
    assert ask_tell.ask() == Wait("the last trials are running")
    ask_tell.tell(completion(ask_tell, second, 0.5))
    control = ask(ask_tell)
    assert control.role is TrialRole.CONTROL
    assert ask_tell.ask() == Wait("the control is being trained")
    ask_tell.tell(completion(ask_tell, control, None))
    assert ask_tell.ask() == Finished("budget: 2 trials", succeeded=True)


def test_search_without_any_success_says_so() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=1))
    ask_tell.tell(completion(ask_tell, ask(ask_tell), None))
    assert ask_tell.ask() == Finished("budget: 1 trials, but no trial succeeded", succeeded=False)


@pytest.mark.parametrize("finish", [0, 3])
@pytest.mark.parametrize("in_flight", [1, 4])
@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_replaying_the_recorded_completions_reproduces_every_proposal(
    strategy: Strategy, in_flight: int, finish: int
) -> None:
    ask_tell = with_base(replace(strategy, finish=finish))
    noise = random.Random(3)

    finished = run(ask_tell, lambda _: noise.random(), in_flight=in_flight, order=random.Random(5))

    assert finished.succeeded
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


@pytest.mark.parametrize("finish", [0, 3])
@pytest.mark.parametrize("strategy", EVERY_STRATEGY)
def test_search_whose_trials_sometimes_fail_still_ends_and_can_be_replayed(
    strategy: Strategy, finish: int
) -> None:
    ask_tell = with_base(replace(strategy, finish=finish))

    def every_third_fails(proposal: Proposal) -> float | None:
        return None if proposal.number % 3 == 2 else rising(proposal)

    run(ask_tell, every_third_fails, in_flight=3, order=random.Random(1))

    assert ask_tell.in_flight == []
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_interrupted_search_resumes_with_the_same_proposals() -> None:
    whole = with_base()
    run(whole, rising, in_flight=1, order=random.Random(0))
    resumed = AskTell(STRATEGY, list(whole.proposals[:5]), list(whole.completions[:5]))
    assert resumed.in_flight == []
    run(resumed, rising, in_flight=1, order=random.Random(0))
    assert resumed.proposals == whole.proposals


@pytest.mark.parametrize("in_flight", [1, 3])
def test_extended_search_resumes_after_its_controls_and_can_be_replayed(in_flight: int) -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=4))
    run(ask_tell, rising, in_flight, random.Random(0))
    controls = sum(p.role is TrialRole.CONTROL for p in ask_tell.proposals)
    assert controls > 0

    ask_tell.strategy = replace(STRATEGY, max_trials=9)
    finished = run(ask_tell, rising, in_flight, random.Random(0))

    assert finished == Finished("budget: 9 trials", succeeded=True)
    later = ask_tell.proposals[5 + controls :]
    assert [p.name for p in later[:5]] == ["4", "5", "6", "7", "8"]
    # Controls that are trained stay; only those are added that a longer lineage calls for.
    assert [p.name for p in later[5:]] == [
        f"control-{number}" for number in range(controls + 1, len(lineage("8", ask_tell.proposals)))
    ]
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_search_that_converged_resumes_with_more_patience() -> None:
    ask_tell = with_base(replace(STRATEGY, patience=2, control=False))
    assert run(ask_tell, lambda _: 0.5, 1, random.Random(0)).reason.startswith("converged: 2")
    ask_tell.strategy = replace(STRATEGY, patience=5, control=False)
    assert run(ask_tell, lambda _: 0.5, 1, random.Random(0)).reason.startswith("converged: 5")
    assert [p.name for p in ask_tell.proposals[1:]] == ["0", "1", "2", "3", "4", "5"]
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_completion_must_be_reported_in_order_and_once() -> None:
    ask_tell = with_base()
    trial = ask(ask_tell)
    with pytest.raises(
        InvalidValueError, match="completion 5 was reported out of order; expected 1"
    ):
        ask_tell.tell(replace(completion(ask_tell, trial, 0.1), sequence=5))
    ask_tell.tell(completion(ask_tell, trial, 0.1))
    with pytest.raises(InvalidValueError, match="trial 0 is not in flight"):
        ask_tell.tell(completion(ask_tell, trial, 0.1))
