"""Finishing: chosen detectors are trained to their end after the last search trial."""

import random
from dataclasses import replace

import pytest

from searchd.domain.resolution import Resolution
from searchd.domain.trial import (
    Finish,
    Proposal,
    PruneToMacs,
    TeacherPolicy,
    Train,
    TrialRole,
)
from searchd.search.ask_tell import AskTell, Finished, Wait, replay
from searchd.search.completions import Completions
from searchd.search.finishing import answer, to_finish
from searchd.search.history import Completion, OperatingPoint
from searchd.search.stopping_criteria import Limits
from tests.searchd.search.scripted import STRATEGY, Score, ask, completion, rising, run, with_base

FINISHING = replace(STRATEGY, max_trials=4, finish=3, control=False)


def at(macs: float, ap: float) -> tuple[OperatingPoint, ...]:
    """A detector at two resolutions; at the small one, all are equal."""
    small = OperatingPoint(resolution=Resolution(64, 64), ap=0.1, macs=1e9)
    return (small, OperatingPoint(resolution=Resolution(96, 96), ap=ap, macs=macs))


def searched(*trials: tuple[float, float, float]) -> list[Completion]:
    """Completions of trials 0, 1, ... with these scores, GMACs and APs."""
    ask_tell = with_base(replace(STRATEGY, max_trials=len(trials)))
    for score, gmacs, ap in trials:
        done = completion(ask_tell, ask(ask_tell), score)
        ask_tell.tell(replace(done, points=at(gmacs * 1e9, ap)))
    return ask_tell.completions


def chosen(completions: list[Completion], most: int) -> str:
    return " ".join(each.proposal.name for each in to_finish(Completions.of(completions), most))


def better_when_finished(proposal: Proposal) -> float:
    return rising(proposal) + (0.2 if proposal.role is TrialRole.FINISH else 0.0)


def roles(ask_tell: AskTell) -> list[str]:
    return [proposal.name for proposal in ask_tell.proposals if not proposal.name.isdecimal()]


def finish_trials(ask_tell: AskTell) -> list[Proposal]:
    return [proposal for proposal in ask_tell.proposals if proposal.role is TrialRole.FINISH]


FRONT = searched(
    (0.50, 1.0, 0.10),
    (0.60, 2.0, 0.40),  # the knee
    (0.70, 2.5, 0.42),  # the best score
    (0.40, 6.0, 0.46),
    (0.30, 9.0, 0.50),
    (0.65, 9.5, 0.30),  # dominated
)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(0, ""), (1, "2"), (2, "2 1"), (3, "2 1 4"), (4, "2 1 4 3"), (9, "2 1 4 3 0")],
)
def test_best_knee_and_then_the_farthest_on_the_front_are_chosen(most: int, expected: str) -> None:
    assert chosen(FRONT, most) == expected


@pytest.mark.parametrize(
    ("teacher_ap", "taught"), [(0.56, True), (0.54, False), (0.3, False), (None, True)]
)
def test_a_detector_is_finished_under_a_teacher_that_is_clearly_better(
    teacher_ap: float | None, taught: bool
) -> None:
    """Its AP at the largest resolution is 50 %."""
    ask_tell = with_base(replace(FINISHING, max_trials=1, finish=1))
    done = completion(ask_tell, ask(ask_tell), 0.5)
    ask_tell.tell(replace(done, points=at(2e9, 0.5), teacher_ap=teacher_ap))

    finish = ask(ask_tell)

    assert finish.role is TrialRole.FINISH
    assert finish.teacher == (done.teacher if taught else None)
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == (
        ask_tell.proposals
    )


def test_a_weaker_teacher_finishes_where_the_settings_say_so() -> None:
    for changes in ({"teach_by_weaker": True}, {"teacher_policy": TeacherPolicy.FIXED}):
        settings = replace(STRATEGY.settings, **changes)
        ask_tell = with_base(replace(FINISHING, max_trials=1, finish=1, settings=settings))
        done = completion(ask_tell, ask(ask_tell), 0.5)
        ask_tell.tell(replace(done, points=at(2e9, 0.5), teacher_ap=0.3))

        assert ask(ask_tell).teacher == done.teacher


def test_best_that_is_the_knee_is_chosen_once() -> None:
    assert chosen(searched((0.5, 1.0, 0.1), (0.6, 2.0, 0.4), (0.2, 9.0, 0.5)), 3) == "1 2 0"


def test_best_that_is_not_on_the_front_is_chosen_too() -> None:
    assert chosen(searched((0.5, 2.0, 0.3), (0.4, 1.0, 0.4)), 3) == "0 1"


def test_nothing_is_chosen_where_no_trial_succeeded() -> None:
    ask_tell = with_base()
    ask_tell.tell(completion(ask_tell, ask(ask_tell), None))
    assert to_finish(ask_tell.history.completions, 3) == []


def test_chosen_trials_are_finished_side_by_side_under_their_own_teachers() -> None:
    proposals = [each.proposal for each in FRONT]
    ask_tell = AskTell(replace(STRATEGY, max_trials=6, finish=2), proposals, FRONT)

    first, second = ask(ask_tell), ask(ask_tell)

    assert ask_tell.ask() == Wait("the chosen detectors are being finished")
    assert [first.name, second.name] == ["finish-1", "finish-2"]
    assert [first.parent, second.parent] == ["2", "1"]
    assert first.change == second.change == Finish()
    by_name = {each.proposal.name: each.teacher for each in FRONT}
    assert [first.teacher, second.teacher] == [by_name["2"], by_name["1"]]
    assert first.teacher is not None
    assert first.seed != second.seed


def test_finishing_waits_for_the_last_search_trial() -> None:
    ask_tell = with_base(replace(FINISHING, max_trials=2))
    first, second = ask(ask_tell), ask(ask_tell)
    ask_tell.tell(completion(ask_tell, first, 0.4))
    assert ask_tell.ask() == Wait("the last trials are running")
    ask_tell.tell(completion(ask_tell, second, 0.5))
    assert ask(ask_tell).parent == "1"


def test_finishing_waits_for_the_confirmation_of_the_best() -> None:
    ask_tell = with_base(replace(FINISHING, max_trials=2, confirm=True))
    for score in (0.4, 0.5):
        ask_tell.tell(completion(ask_tell, ask(ask_tell), score))
    confirmation = ask(ask_tell)
    assert confirmation.name == "confirm-1"
    assert ask_tell.ask() == Wait("the last trials are running")
    ask_tell.tell(completion(ask_tell, confirmation, 0.1))
    assert ask(ask_tell).parent == "0"  # the mean of 0.5 and 0.1 is below 0.4


def test_controls_are_trained_like_the_best_and_then_finished_like_it() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=4, finish=1))

    ended = run(ask_tell, better_when_finished, 1, random.Random(0))

    assert ended == Finished("budget: 4 trials", succeeded=True)
    controls = [p for p in ask_tell.proposals if p.role is TrialRole.CONTROL]
    assert [type(p.change) for p in controls] == [Train] * (len(controls) - 1) + [Finish]
    assert [p.parent for p in controls] == ["base", *(p.name for p in controls[:-1])]
    best = answer(ask_tell.history.completions)
    assert best is not None
    assert best.proposal.name == "finish-1"
    line = [best.proposal.parent]
    parents = {p.name: p.parent for p in ask_tell.proposals}
    while line[-1] != "base":
        line.append(parents[line[-1] or ""])
    assert len(controls) - 1 == len(line) - 1
    assert {p.teacher for p in controls} == {None}


def test_control_of_equal_macs_has_those_of_the_best_finished_detector() -> None:
    strategy = replace(STRATEGY, max_trials=1, finish=1, control=False, macs_control=4)
    ask_tell = AskTell(strategy)
    gmacs = {"base": 10, "0": 5, "finish-1": 4}
    while not isinstance(proposal := ask_tell.ask(), Finished):
        assert isinstance(proposal, Proposal)
        done = completion(ask_tell, proposal, better_when_finished(proposal))
        ask_tell.tell(replace(done, points=at(1e9 * gmacs.get(proposal.name, 4), 0.5)))

    pruned = [p for p in ask_tell.proposals if p.role is TrialRole.MACS_CONTROL]

    assert [p.change for p in pruned] == [PruneToMacs(fraction=0.4, min_channels=4), Finish()]


def test_search_whose_finishing_fails_succeeds_with_what_it_found_and_says_so() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=2, finish=1))

    def fails(proposal: Proposal) -> float | None:
        return None if proposal.role is TrialRole.FINISH else rising(proposal)

    ended = run(ask_tell, fails, 1, random.Random(0))

    assert ended.succeeded
    assert ended.reason == "budget: 2 trials; finish-1 failed, so that trial 1 stays as it is"
    best = answer(ask_tell.history.completions)
    assert best is not None
    assert best.proposal.name == "1"
    controls = [p for p in ask_tell.proposals if p.role is TrialRole.CONTROL]
    assert {p.change for p in controls} == {Train()}  # as long as the best, which is unfinished


def test_trial_that_finishing_made_worse_stays_the_answer() -> None:
    ask_tell = with_base(FINISHING)
    run(ask_tell, lambda p: 0.1 if p.role is TrialRole.FINISH else rising(p), 1, random.Random(0))
    best = answer(ask_tell.history.completions)
    assert best is not None
    assert best.proposal.name == "3"


def test_extended_search_finishes_its_new_best_and_nothing_twice() -> None:
    ask_tell = with_base(replace(FINISHING, finish=1))
    run(ask_tell, better_when_finished, 1, random.Random(0))
    assert [p.parent for p in finish_trials(ask_tell)] == ["3"]

    ask_tell.strategy = replace(FINISHING, finish=1, max_trials=6, patience=9)
    worse: Score = lambda p: better_when_finished(p) - (0.2 if p.number == 4 else 0.0)  # noqa: E731
    run(ask_tell, worse, 1, random.Random(0))

    assert [p.parent for p in finish_trials(ask_tell)] == ["3", "5"]
    names = [p.name for p in ask_tell.proposals]
    assert names[names.index("finish-1") :] == ["finish-1", "4", "5", "finish-2"]


def test_extended_search_without_a_better_trial_finishes_nothing_more() -> None:
    ask_tell = with_base(replace(FINISHING, finish=1))
    run(ask_tell, better_when_finished, 1, random.Random(0))
    ask_tell.strategy = replace(FINISHING, finish=1, max_trials=6)
    run(ask_tell, lambda _: 0.2, 1, random.Random(0))
    assert roles(ask_tell) == ["base", "finish-1"]


@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("later", [0, 1, 3], ids=["off", "fewer", "as before"])
def test_extended_search_can_be_replayed(in_flight: int, later: int) -> None:
    noise = random.Random(3)
    ask_tell = with_base(replace(STRATEGY, max_trials=4, finish=2))
    run(ask_tell, lambda _: noise.random(), in_flight, random.Random(1))
    ask_tell.strategy = replace(STRATEGY, max_trials=9, finish=later)
    run(ask_tell, lambda _: noise.random(), in_flight, random.Random(2))

    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_search_that_is_extended_while_detectors_are_finished_can_be_replayed() -> None:
    ask_tell = with_base(replace(STRATEGY, max_trials=2, finish=1))
    for _ in range(2):
        proposal = ask(ask_tell)
        ask_tell.tell(completion(ask_tell, proposal, rising(proposal)))
    finish = ask(ask_tell)
    ask_tell.strategy = replace(STRATEGY, max_trials=4, finish=1)
    assert ask(ask_tell).name == "2"
    ask_tell.tell(completion(ask_tell, finish, 0.9))
    ask_tell.tell(completion(ask_tell, ask_tell.in_flight[0], 0.35))
    run(ask_tell, rising, 1, random.Random(0))

    assert len(finish_trials(ask_tell)) == 2
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_finished_detectors_are_no_parents_and_do_not_count_for_the_budget() -> None:
    ask_tell = with_base(FINISHING)
    run(ask_tell, lambda p: 0.9 if p.role is TrialRole.FINISH else rising(p), 1, random.Random(0))
    ask_tell.strategy = replace(FINISHING, max_trials=9, patience=3)
    run(ask_tell, rising, 1, random.Random(0))

    later = [p for p in ask_tell.proposals if p.name in ("4", "5", "6", "7", "8")]
    assert len(later) == 5  # each has a better score than the search trials before it
    assert all((p.parent or "").isdecimal() for p in later)


def test_hours_of_finishing_are_no_part_of_the_budget() -> None:
    ask_tell = with_base(replace(FINISHING, max_trials=1))
    for _ in range(2):
        done = completion(ask_tell, ask(ask_tell), 0.5)
        ask_tell.tell(replace(done, busy_s=3600.0))
    assert ask_tell.proposals[-1].role is TrialRole.FINISH

    assert Limits(worker_hours=1.5).reached(ask_tell.history.completions) is None
    assert Limits(worker_hours=1.0).reached(ask_tell.history.completions) is not None
