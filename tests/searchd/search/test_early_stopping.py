"""Early stopping: which trials are abandoned after their first epoch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.actions import PruneLayer
from searchd.domain.trial import MutateTeacher, Outcome, Proposal, Train, TrialRole
from searchd.search.early_stopping import abandon_below
from searchd.search.growing_history import Ended, History
from searchd.search.history import Completion
from searchd.search.strategies.joint_detnas import JointDetNas
from tests.searchd.search.scripted import BACKBONE, SPACE, STRATEGY


def with_top_k(strategy: JointDetNas, top_k: int) -> JointDetNas:
    return replace(strategy, settings=replace(strategy.settings, top_k=top_k))


ABANDONING = with_top_k(replace(STRATEGY, abandon=True), 3)
NEW = Proposal(
    role=TrialRole.SEARCH,
    number=9,
    parent="0",
    change=MutateTeacher(),
    teacher=SPACE.largest,
    seed=0,
    completed_before=6,
)


def ended(number: int, first: float | None, score: float | None, **changes: Any) -> Completion:
    return Completion(
        sequence=number,
        proposal=replace(NEW, number=number, **changes),
        outcome=Outcome.ABANDONED if score is None else Outcome.SUCCEEDED,
        architecture=None if score is None else BACKBONE,
        score=score,
        first_epoch_score=first,
    )


HISTORY = (
    ended(0, 0.20, 0.30, change=Train()),
    ended(1, None, 0.28, change=Train(), role=TrialRole.NOISE),
    ended(2, None, 0.32, change=Train(), role=TrialRole.NOISE),
    ended(1, 0.30, 0.35),
    ended(2, 0.32, 0.40),
    ended(3, 0.40, 0.45),
)
"""The noise is 0.02, the third best search trial scored 0.35, and scores of trials that mutate the
teacher rose by up to 0.08."""


def seen(history: Sequence[Completion] = HISTORY, *, confirm: bool = False) -> Ended:
    found = Ended(confirm=confirm)
    for number, each in enumerate(history):
        found = found.after(replace(each, sequence=number))
    return found


def below(history: Sequence[Completion] = HISTORY, **changes: Any) -> float | None:
    proposal = replace(NEW, completed_before=len(history), **changes)
    return abandon_below(ABANDONING, proposal, seen(history))


def test_threshold_is_the_top_k_less_the_largest_rise_and_two_standard_deviations() -> None:
    assert below() == pytest.approx(0.35 - 0.08 - 2 * 0.02)


def test_trial_is_judged_by_what_was_known_when_it_was_proposed() -> None:
    names = ["0", "noise-1", "noise-2", "1", "2", "3"]
    assert [each.proposal.name for each in HISTORY] == names
    later = (*HISTORY, ended(4, 0.1, 0.9))
    proposals = [each.proposal for each in later]
    new = replace(NEW, completed_before=6)
    known = [replace(each, completed_before=0) for each in proposals]

    history = History.of(
        [*known, new],
        [
            replace(each, sequence=number, proposal=known[number])
            for number, each in enumerate(later)
        ],
        confirm=False,
    )

    then = history.seen_by("9")
    assert then is not None
    assert abandon_below(ABANDONING, new, then) == below()


def test_rises_of_another_kind_are_ignored() -> None:
    assert below(change=PruneLayer()) is None


def test_abandoned_trials_have_no_rise() -> None:
    assert below((*HISTORY, ended(4, 0.01, None))) == below()


@pytest.mark.parametrize(
    "history",
    [
        HISTORY[:-1],  # two rises
        (*HISTORY[:1], *HISTORY[3:]),  # no measured noise
    ],
)
def test_nothing_is_abandoned_with_too_few_rises_or_unknown_noise(
    history: Sequence[Completion],
) -> None:
    assert below(history) is None


def test_nothing_is_abandoned_before_k_trials_have_succeeded() -> None:
    proposal = replace(NEW, completed_before=6)

    assert abandon_below(with_top_k(ABANDONING, 5), proposal, seen()) is None


@pytest.mark.parametrize(
    "role", [TrialRole.BASE, TrialRole.NOISE, TrialRole.CONTROL, TrialRole.CONFIRMATION]
)
def test_only_search_trials_are_abandoned(role: TrialRole) -> None:
    assert below(role=role) is None


def test_with_confirmation_only_accepted_trials_are_in_the_top_k() -> None:
    # Of 0.30, 0.35, 0.40 and 0.45 all but the first wait for a confirmation.
    strategy = replace(ABANDONING, confirm=True)

    judged = seen(confirm=True)
    assert abandon_below(strategy, replace(NEW, completed_before=6), judged) is None
    assert abandon_below(
        with_top_k(strategy, 1), replace(NEW, completed_before=6), judged
    ) == pytest.approx(0.30 - 0.08 - 2 * 0.02)


def test_only_failed_and_stopped_trials_may_have_another_outcome_in_another_attempt() -> None:
    assert [outcome for outcome in Outcome if not outcome.is_settled] == ["failed", "stopped"]
