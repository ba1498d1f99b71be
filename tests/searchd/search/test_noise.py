"""A search may measure the noise of scores, and compares gains with it."""

from dataclasses import replace

import pytest

from searchd.domain.trial import TrialRole
from searchd.search.ask_tell import AskTell, replay
from searchd.search.history import Completion
from searchd.search.noise import floor_of, noise_floor, noise_warning, within_noise
from tests.searchd.search.scripted import STRATEGY, ask, completion, with_base

NOISY = replace(STRATEGY, noise_seeds=3, control=False)


def tell(ask_tell: AskTell, score: float | None) -> Completion:
    """End the next trial with this score."""
    ended = completion(ask_tell, ask(ask_tell), score)
    ask_tell.tell(ended)
    return ended


@pytest.fixture
def ask_tell() -> AskTell:
    """Trial 0 scored 0.30, its repetitions 0.28 and 0.32: a standard deviation of 0.02."""
    ask_tell = with_base(NOISY)
    for score in (0.30, 0.28, 0.32):
        tell(ask_tell, score)
    return ask_tell


def test_trial_0_is_repeated_with_other_seeds_before_trial_1(ask_tell: AskTell) -> None:
    _, first, *repetitions = ask_tell.proposals

    assert [proposal.name for proposal in repetitions] == ["noise-1", "noise-2"]
    for proposal in repetitions:
        assert (proposal.parent, proposal.change) == (first.parent, first.change)
        assert proposal.teacher == first.teacher
    assert len({proposal.seed for proposal in (first, *repetitions)}) == 3
    assert ask(ask_tell).name == "1"


def test_repetitions_are_no_parents_and_replay_is_exact(ask_tell: AskTell) -> None:
    for _ in range(6):
        tell(ask_tell, 0.1)

    assert {proposal.parent for proposal in ask_tell.proposals} <= {None, "base", *"012345678"}
    assert replay(NOISY, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_repetitions_are_extra_to_the_budget() -> None:
    ask_tell = with_base(replace(NOISY, max_trials=2))
    while len(ask_tell.proposals) < 5:
        tell(ask_tell, 0.3)

    roles = [proposal.role for proposal in ask_tell.proposals]
    assert roles.count(TrialRole.SEARCH) == 2
    assert roles.count(TrialRole.NOISE) == 2


def test_floor_is_the_standard_deviation_of_the_repetitions(ask_tell: AskTell) -> None:
    assert floor_of(ask_tell.completions) == pytest.approx(0.02)
    assert noise_floor([0.3]) is None


@pytest.mark.parametrize(
    ("gain", "may_be_chance"), [(0.039, True), (0.041, False), (0.0, False), (-0.01, False)]
)
def test_gain_below_two_standard_deviations_may_be_chance(gain: float, may_be_chance: bool) -> None:
    assert within_noise(gain, 0.02) is may_be_chance
    assert not within_noise(gain, None)


def test_warning_names_trial_parent_and_noise(ask_tell: AskTell) -> None:
    small = tell(ask_tell, 0.31)
    assert small.proposal.parent == "0"

    assert noise_warning(small, ask_tell.history.completions) == (
        "trial 1 gains 1.00% over trial 0, which is less than two standard deviations of the noise "
        "(2.00%)"
    )


def test_large_gains_losses_and_failures_have_no_warning(ask_tell: AskTell) -> None:
    for score in (0.5, 0.1, None):
        assert noise_warning(tell(ask_tell, score), ask_tell.history.completions) is None
    ended = ask_tell.history.completions
    assert noise_warning(ended[0], ended) is None  # the base


def test_without_repetitions_there_is_no_warning() -> None:
    ask_tell = with_base()
    tell(ask_tell, 0.30)

    assert noise_warning(tell(ask_tell, 0.3001), ask_tell.history.completions) is None
