"""Controls of equal MACs: the base is pruned at once to the MACs of the best, then trained on."""

import random
from dataclasses import replace

import pytest

from searchd.domain.resolution import Resolution
from searchd.domain.trial import Outcome, Proposal, PruneToMacs, Train, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait, replay
from searchd.search.history import Completion, OperatingPoint, lineage, ranking
from tests.searchd.search.scripted import STRATEGY, ask, completion, rising

WITH_BOTH = replace(STRATEGY, macs_control=4)
BASE_MACS = 10e9


def completed(ask_tell: AskTell, proposal: Proposal, score: float | None, macs: float) -> None:
    points = tuple(
        OperatingPoint(resolution=Resolution(side, side), ap=0.5, macs=macs * side / 96)
        for side in (64, 96)
    )
    done = completion(ask_tell, proposal, score)
    ask_tell.tell(done if score is None else replace(done, points=points))


def run(ask_tell: AskTell, best_macs: float, *, fails: str = "") -> Finished:
    """Run a search to its end; every trial of the search has these MACs."""
    running: list[Proposal] = []
    order = random.Random(3)
    while True:
        decision = ask_tell.ask() if len(running) < 2 else Wait("slots are taken")
        if isinstance(decision, Finished):
            return decision
        if isinstance(decision, Proposal):
            running.append(decision)
            continue
        done = running.pop(order.randrange(len(running)))
        macs = best_macs if done.role is TrialRole.SEARCH else BASE_MACS
        completed(ask_tell, done, None if done.name == fails else rising(done), macs)


def controls(ask_tell: AskTell, role: TrialRole) -> list[Proposal]:
    return [p for p in ask_tell.proposals if p.role is role]


def fraction_of(proposal: Proposal) -> float | None:
    assert isinstance(proposal.change, PruneToMacs)
    assert proposal.change.min_channels == 4
    return proposal.change.fraction


def best_length(ask_tell: AskTell) -> int:
    best: Completion = ranking(ask_tell.completions)[0]
    return len(lineage(best.proposal.name, ask_tell.proposals)) - 1


def test_the_base_is_pruned_to_the_macs_of_the_best_and_trained_as_long() -> None:
    ask_tell = AskTell(WITH_BOTH)

    ended = run(ask_tell, best_macs=6e9)

    assert ended.succeeded
    pruned, trained = controls(ask_tell, TrialRole.MACS_CONTROL), best_length(ask_tell)
    assert trained > 1
    assert len(pruned) == len(controls(ask_tell, TrialRole.CONTROL)) == trained
    assert [p.name for p in pruned][:2] == ["macs-control-1", "macs-control-2"]
    assert [p.parent for p in pruned][:2] == ["base", "macs-control-1"]
    assert fraction_of(pruned[0]) == pytest.approx(0.6)
    assert all(p.change == Train() for p in pruned[1:])
    assert all(p.teacher is None for p in pruned)


@pytest.mark.parametrize("macs", [9.9e9, 10e9, 12e9])
def test_a_best_that_is_no_cheaper_than_the_base_has_no_such_control(macs: float) -> None:
    ask_tell = AskTell(WITH_BOTH)

    assert run(ask_tell, best_macs=macs).succeeded
    assert controls(ask_tell, TrialRole.MACS_CONTROL) == []


def test_a_base_that_cannot_be_pruned_so_far_ends_the_search_all_the_same() -> None:
    ask_tell = AskTell(WITH_BOTH)

    assert run(ask_tell, best_macs=6e9, fails="macs-control-1").succeeded
    assert len(controls(ask_tell, TrialRole.MACS_CONTROL)) == 1


def test_without_the_option_a_search_proposes_what_it_always_did() -> None:
    plain, both = AskTell(STRATEGY), AskTell(WITH_BOTH)
    run(plain, best_macs=6e9)
    run(both, best_macs=6e9)

    assert controls(plain, TrialRole.MACS_CONTROL) == []
    before = [p.name for p in plain.proposals if p.role is not TrialRole.CONTROL]
    assert [p.name for p in both.proposals][: len(before)] == before


def test_replaying_reproduces_every_control() -> None:
    ask_tell = AskTell(WITH_BOTH)
    run(ask_tell, best_macs=6e9)

    assert replay(WITH_BOTH, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_a_new_best_of_an_extended_search_has_a_control_with_its_own_macs() -> None:
    ask_tell = AskTell(WITH_BOTH)
    run(ask_tell, best_macs=6e9)
    first = len(controls(ask_tell, TrialRole.MACS_CONTROL))
    more = replace(WITH_BOTH, max_trials=WITH_BOTH.max_trials + 4)
    extended = AskTell(more, ask_tell.proposals, ask_tell.completions)

    run(extended, best_macs=3e9)

    pruned = controls(extended, TrialRole.MACS_CONTROL)
    assert pruned[first].parent == "base"
    assert fraction_of(pruned[first]) == pytest.approx(0.3)
    assert len(pruned) - first == best_length(extended)
    assert replay(more, extended.proposals, extended.completions) == extended.proposals


def test_both_kinds_of_controls_are_trained_side_by_side() -> None:
    ask_tell = AskTell(WITH_BOTH)
    while not controls(ask_tell, TrialRole.CONTROL):
        decision = ask_tell.ask()
        running = [p for p in ask_tell.in_flight if p.role is not TrialRole.CONTROL]
        if isinstance(decision, Wait):
            macs = BASE_MACS if running[0].role is TrialRole.BASE else 6e9
            completed(ask_tell, running[0], rising(running[0]), macs)

    assert ask(ask_tell).role is TrialRole.MACS_CONTROL
    assert ask_tell.ask() == Wait("the control is being trained")
    assert {p.outcome for p in ask_tell.completions} == {Outcome.SUCCEEDED}
