"""Rungs: which trials are stopped unless they are among the best share at the same epoch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from searchd.domain.actions import PruneLayer
from searchd.domain.trial import MutateTeacher, Outcome, Proposal, TrialRole
from searchd.search.early_stopping import rungs_of
from searchd.search.growing_history import Ended, History
from searchd.search.history import Completion
from searchd.search.rungs import Rung, Rungs, rung
from tests.searchd.search.scripted import BACKBONE, SPACE, STRATEGY

HALVING = replace(STRATEGY, rungs=Rungs(first=1, factor=2))
NEW = Proposal(
    role=TrialRole.SEARCH,
    number=9,
    parent="0",
    change=MutateTeacher(),
    teacher=SPACE.largest,
    seed=0,
    completed_before=5,
)
NUM_EPOCHS = 5


def ended(number: int, scores: Sequence[float], *, stopped: bool, **changes: Any) -> Completion:
    """A trial with scores at the rungs of epochs 1, 2 and 4, as far as it came."""
    return Completion(
        sequence=number,
        proposal=replace(NEW, number=number, completed_before=0, **changes),
        outcome=Outcome.ABANDONED if stopped else Outcome.SUCCEEDED,
        architecture=None if stopped else BACKBONE,
        score=None if stopped else scores[-1],
        epoch_scores=tuple(zip((1, 2, 4), scores, strict=False)),
    )


HISTORY = (
    ended(0, (0.30, 0.35, 0.40), stopped=False),
    ended(1, (0.20,), stopped=True),
    ended(2, (0.25, 0.45, 0.50), stopped=False),
    ended(3, (0.28, 0.31), stopped=True),
    ended(4, (0.90, 0.90, 0.90), stopped=False, change=PruneLayer()),
)
"""Trials that mutate the teacher had 0.30, 0.28, 0.25 and 0.20 after epoch 1; 0.45, 0.35 and 0.31
after epoch 2; 0.50 and 0.40 after epoch 4. Another kind of change had 0.90 everywhere."""


def seen(history: Sequence[Completion] = HISTORY) -> Ended:
    found = Ended(confirm=False)
    for each in history:
        found = found.after(each)
    return found


def rungs(**changes: Any) -> tuple[Rung, ...]:
    return rungs_of(HALVING, replace(NEW, **changes), seen(), NUM_EPOCHS)


@pytest.mark.parametrize(
    ("first", "factor", "num_epochs", "epochs"),
    [
        (1, 3, 12, (1, 3, 9)),
        (1, 3, 9, (1, 3)),
        (2, 2, 24, (2, 4, 8, 16)),
        (4, 3, 4, ()),
        (1, 3, 3, (1,)),
    ],
)
def test_rungs_are_powers_of_the_factor_apart_and_before_the_last_epoch(
    first: int, factor: int, num_epochs: int, epochs: tuple[int, ...]
) -> None:
    assert Rungs(first=first, factor=factor).epochs(num_epochs) == epochs


@pytest.mark.parametrize(("num", "rank"), [(0, 0), (2, 0), (3, 1), (5, 1), (6, 2), (7, 2), (9, 3)])
def test_one_in_three_of_the_earlier_trials_must_not_be_better(num: int, rank: int) -> None:
    scores = [0.9 - 0.1 * place for place in range(num)]  # best first

    found = rung(1, scores, factor=3)

    assert (found.rank, found.num) == (rank, num)
    assert found.below == (scores[rank - 1] if rank else None)


def test_a_trial_must_be_among_the_best_half_of_its_kind_at_each_rung() -> None:
    assert rungs() == (
        Rung(epoch=1, below=0.28, rank=2, num=4),
        Rung(epoch=2, below=0.45, rank=1, num=3),
        Rung(epoch=4, below=0.50, rank=1, num=2),
    )


def test_kinds_of_change_are_compared_separately() -> None:
    # One trial has pruned a layer, and half of one trial is none.
    assert rungs(change=PruneLayer()) == (
        Rung(epoch=1, num=1),
        Rung(epoch=2, num=1),
        Rung(epoch=4, num=1),
    )


@pytest.mark.parametrize("role", [role for role in TrialRole if role is not TrialRole.SEARCH])
def test_base_controls_confirmations_and_finishing_trainings_have_no_rungs(role: TrialRole) -> None:
    assert rungs(role=role) == ()


@pytest.mark.parametrize("role", [TrialRole.CONFIRMATION, TrialRole.NOISE, TrialRole.CONTROL])
def test_only_search_trials_are_compared_with(role: TrialRole) -> None:
    others = (*HISTORY, ended(5, (0.99, 0.99, 0.99), stopped=False, role=role))
    assert rungs_of(HALVING, NEW, seen(others), NUM_EPOCHS) == rungs()


def test_without_rungs_nothing_is_stopped() -> None:
    assert rungs_of(STRATEGY, NEW, seen(), NUM_EPOCHS) == ()


def test_a_trial_that_is_not_in_flight_is_scored_and_not_stopped() -> None:
    assert rungs_of(HALVING, NEW, None, 3) == (Rung(epoch=1), Rung(epoch=2))


def test_a_trial_is_compared_with_what_had_ended_when_it_was_proposed() -> None:
    """So every attempt has the same rungs, and the history of the database gives them again."""
    later = (*HISTORY, ended(5, (0.99, 0.99, 0.99), stopped=False))
    proposals = [each.proposal for each in later]

    history = History.of([*proposals, NEW], later, confirm=False)

    assert len(history.completions) == 6
    assert rungs_of(HALVING, NEW, history.seen_by("9"), NUM_EPOCHS) == rungs()
