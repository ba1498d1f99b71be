"""A search may measure how far scores differ by chance, and judge gains by it."""

from dataclasses import replace

import pytest

from searchd.domain.trial import TrialRole
from searchd.search.history import Completion
from searchd.search.noise import doubt, floor_of, noise_floor, within_noise
from searchd.search.strategy import Strategy, replay
from tests.searchd.search.scripted import RULES, ask, completion, with_base

NOISY = replace(RULES, noise_seeds=3, control=False)


def tell(strategy: Strategy, score: float | None) -> Completion:
    """The next trial ends with this score."""
    ended = completion(strategy, ask(strategy), score)
    strategy.tell(ended)
    return ended


@pytest.fixture
def strategy() -> Strategy:
    """Trial 0 scored 0.30, its repetitions 0.28 and 0.32: a standard deviation of 0.02."""
    strategy = with_base(NOISY)
    for score in (0.30, 0.28, 0.32):
        tell(strategy, score)
    return strategy


def test_trial_0_is_repeated_with_other_seeds_before_the_search_goes_on(strategy: Strategy) -> None:
    _, first, *repetitions = strategy.proposals

    assert [proposal.name for proposal in repetitions] == ["noise-1", "noise-2"]
    for proposal in repetitions:
        assert (proposal.parent, proposal.change) == (first.parent, first.change)
        assert proposal.teacher == first.teacher
    assert len({proposal.seed for proposal in (first, *repetitions)}) == 3
    assert ask(strategy).name == "1"


def test_repetitions_are_no_parents_and_replay_is_exact(strategy: Strategy) -> None:
    for _ in range(6):
        tell(strategy, 0.1)

    assert {proposal.parent for proposal in strategy.proposals} <= {None, "base", *"012345678"}
    assert replay(NOISY, strategy.proposals, strategy.completions) == strategy.proposals


def test_repetitions_are_extra_to_the_budget() -> None:
    strategy = with_base(replace(NOISY, max_trials=2))
    while len(strategy.proposals) < 5:
        tell(strategy, 0.3)

    roles = [proposal.role for proposal in strategy.proposals]
    assert roles.count(TrialRole.SEARCH) == 2
    assert roles.count(TrialRole.NOISE) == 2


def test_floor_is_the_standard_deviation_of_the_repetitions(strategy: Strategy) -> None:
    assert floor_of(strategy.completions) == pytest.approx(0.02)
    assert noise_floor([0.3]) is None


@pytest.mark.parametrize(
    ("gain", "is_doubtful"), [(0.039, True), (0.041, False), (0.0, False), (-0.01, False)]
)
def test_gain_below_two_standard_deviations_may_be_chance(gain: float, is_doubtful: bool) -> None:
    assert within_noise(gain, 0.02) is is_doubtful
    assert not within_noise(gain, None)


def test_doubt_names_trial_parent_and_noise(strategy: Strategy) -> None:
    small = tell(strategy, 0.31)
    assert small.proposal.parent == "0"

    assert doubt(small, strategy.completions) == (
        "trial 1 gains 1.00% over trial 0, which is less than two standard deviations of the noise "
        "(2.00%)"
    )


def test_there_is_no_doubt_about_what_gains_much_or_nothing_or_failed(strategy: Strategy) -> None:
    for score in (0.5, 0.1, None):
        assert doubt(tell(strategy, score), strategy.completions) is None
    assert doubt(strategy.completions[0], strategy.completions) is None  # the base


def test_without_repetitions_nothing_is_doubted() -> None:
    strategy = with_base()
    tell(strategy, 0.30)

    assert doubt(tell(strategy, 0.3001), strategy.completions) is None
