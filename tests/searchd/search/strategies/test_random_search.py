"""Random search: the steps of Joint-DetNAS without its selection."""

import random
from dataclasses import replace

from searchd.domain.actions import ACTION_KINDS
from searchd.domain.trial import Proposal, TeacherPolicy
from searchd.search.history import search_trials
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.random_search import RandomSearch
from tests.searchd.search.scripted import SPACE, rising, run, with_base

STRATEGY = RandomSearch(
    space=SPACE, seed=7, max_trials=60, settings=PairSettings(min_channels=4), control=False
)


def test_every_trial_that_succeeded_is_as_likely_a_parent_as_any_other() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=600))
    # Only trials 0 to 3 succeed, with very different scores.
    scores: dict[int, float] = {0: 0.5, 1: 0.001, 2: 0.45, 3: 0.1}

    run(ask_tell, lambda p: scores.get(p.number), in_flight=1, order=random.Random(0))

    parents = [p.parent for p in ask_tell.proposals if p.number >= 4]
    shares = [parents.count(str(number)) / len(parents) for number in range(4)]
    assert sum(shares) == 1.0
    assert all(0.2 < share < 0.3 for share in shares)


def test_its_steps_are_those_of_joint_detnas() -> None:
    ask_tell = with_base(STRATEGY)
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    trials = search_trials(ask_tell.proposals)

    assert (trials[0].parent, trials[0].teacher) == ("base", SPACE.largest)
    assert [p.change.kind for p in trials[1:6]] == ["mutate_teacher"] * 5
    assert {p.change.kind for p in trials[6:]} == {*ACTION_KINDS, "mutate_teacher"}


def test_first_trials_start_from_the_base_while_none_has_succeeded() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=3))
    run(ask_tell, lambda _: None, in_flight=1, order=random.Random(0))
    assert [p.parent for p in search_trials(ask_tell.proposals)] == ["base"] * 3


def test_only_its_budget_ends_it() -> None:
    ask_tell = with_base(STRATEGY)

    def falling(proposal: Proposal) -> float:
        return -proposal.number

    finished = run(ask_tell, falling, in_flight=1, order=random.Random(0))

    assert finished.reason == "budget: 60 trials"


def test_teacher_may_be_fixed() -> None:
    ask_tell = with_base(
        replace(STRATEGY, settings=PairSettings(min_channels=4, teacher_policy=TeacherPolicy.FIXED))
    )
    run(ask_tell, rising, in_flight=1, order=random.Random(0))
    assert {p.teacher for p in search_trials(ask_tell.proposals)} == {SPACE.largest}
