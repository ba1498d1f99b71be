"""A candidate incumbent is trained again, with another seed, before a search accepts it."""

import random
from dataclasses import replace

import pytest

from searchd.domain.architecture import preset
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Proposal, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait, replay
from searchd.search.confirmation import Verdict, confirmation_note, judge
from searchd.search.history import Completion, OperatingPoint, ranking
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategies.base import Strategy
from tests.searchd.search.scripted import STRATEGY, ask, completion, run, with_base

CONFIRMING = replace(STRATEGY, confirm=True, control=False)
SIZE = Resolution(1333, 800)


def tell(ask_tell: AskTell, score: float | None) -> Completion:
    """End the next trial with this score, which is also its AP."""
    return end(ask_tell, ask(ask_tell), score)


def end(ask_tell: AskTell, proposal: Proposal, score: float | None) -> Completion:
    ended = completion(ask_tell, proposal, score)
    if score is not None:
        ended = replace(ended, points=(OperatingPoint(resolution=SIZE, ap=score, macs=1e9),))
    ask_tell.tell(ended)
    return ended


def undecided(strategy: Strategy = CONFIRMING) -> AskTell:
    """Trial 0 scored 0.30, trial 1 0.40; its confirmation comes next."""
    ask_tell = with_base(strategy)
    tell(ask_tell, 0.30)
    tell(ask_tell, 0.40)
    return ask_tell


def best(ask_tell: AskTell) -> tuple[str, object]:
    top = ranking(judge(ask_tell.completions, confirm=True).accepted)[0]
    return top.proposal.name, top.score


def test_candidate_incumbent_is_trained_again_with_another_seed() -> None:
    ask_tell = undecided()
    first = ask_tell.completions[-1].proposal

    again = ask(ask_tell)

    assert (again.name, again.role) == ("confirm-1", TrialRole.CONFIRMATION)
    assert replace(again, role=first.role, seed=first.seed, completed_before=2) == first
    assert again.seed != first.seed
    assert again.completed_before == 3


def test_undecided_candidate_is_neither_incumbent_nor_parent() -> None:
    ask_tell = undecided()
    ask(ask_tell)

    parents = {ask(ask_tell).parent for _ in range(8)}

    assert parents == {"0"}
    assert best(ask_tell) == ("0", 0.30)


def test_confirmed_pair_counts_with_the_mean_of_both_scores() -> None:
    ask_tell = undecided()
    tell(ask_tell, 0.36)

    judged = judge(ask_tell.completions, confirm=True)

    assert best(ask_tell) == ("1", pytest.approx(0.38))
    assert judged.accepted[-1].points[0].ap == pytest.approx(0.38)
    assert judged.verdicts == {"1": Verdict.CONFIRMED}
    assert [c.proposal.name for c in judged.accepted] == ["base", "0", "1"]


def test_lucky_candidate_is_accepted_with_its_mean_and_is_not_the_incumbent() -> None:
    ask_tell = undecided()
    tell(ask_tell, 0.18)

    assert best(ask_tell) == ("0", 0.30)
    assert ask_tell.history.accepted.trials_without_gain == 1
    assert ask(ask_tell).name == "2"


def test_candidate_whose_confirmation_fails_is_not_accepted() -> None:
    ask_tell = undecided()
    tell(ask_tell, None)

    judged = judge(ask_tell.completions, confirm=True)

    assert best(ask_tell) == ("0", 0.30)
    assert judged.verdicts == {"1": Verdict.REFUSED}
    assert judged.accepted[-1].score is None
    assert {ask(ask_tell).parent for _ in range(5)} == {"0"}


def test_confirmation_of_another_student_confirms_nothing() -> None:
    ask_tell = undecided()
    other = preset("resnet18", base_channels=8)
    ask_tell.tell(completion(ask_tell, ask(ask_tell), 0.40, other))

    assert judge(ask_tell.completions, confirm=True).verdicts == {"1": Verdict.REFUSED}


def test_first_result_and_results_that_are_not_better_need_no_confirmation() -> None:
    ask_tell = undecided()
    tell(ask_tell, 0.40)
    tell(ask_tell, 0.40)

    assert ask(ask_tell).name == "3"
    assert judge(ask_tell.completions, confirm=True).verdicts == {"1": Verdict.CONFIRMED}


def test_every_candidate_incumbent_among_trials_in_flight_is_confirmed() -> None:
    ask_tell = with_base(CONFIRMING)
    tell(ask_tell, 0.30)
    one, two = ask(ask_tell), ask(ask_tell)
    end(ask_tell, two, 0.40)
    end(ask_tell, one, 0.35)  # above what is accepted, though not above what is undecided

    second, first = ask(ask_tell), ask(ask_tell)
    assert (second.name, first.name) == ("confirm-2", "confirm-1")
    end(ask_tell, first, 0.35)
    end(ask_tell, second, 0.20)

    assert best(ask_tell) == ("1", 0.35)


def test_search_ends_after_the_last_candidate_is_decided() -> None:
    ask_tell = undecided(replace(CONFIRMING, max_trials=2))

    confirmation = ask(ask_tell)
    assert ask_tell.ask() == Wait("the last trials are running")
    end(ask_tell, confirmation, 0.38)

    assert ask_tell.ask() == Finished("budget: 2 trials", succeeded=True)


def test_number_of_controls_is_the_depth_of_the_incumbent() -> None:
    ask_tell = undecided(replace(CONFIRMING, max_trials=2, control=True))
    tell(ask_tell, 0.10)  # the best is trial 0 again, one step from the base
    tell(ask_tell, 0.31)

    assert ask_tell.proposals[-1].name == "control-1"
    assert isinstance(ask_tell.ask(), Finished)


def test_target_is_reached_by_the_mean() -> None:
    target = Target(ap=0.39)
    ask_tell = undecided(replace(CONFIRMING, limits=Limits(target=target)))
    tell(ask_tell, 0.36)

    assert ask(ask_tell).name == "2"


def test_whole_search_confirms_every_candidate_and_replays() -> None:
    order, scores = random.Random(3), random.Random(4)
    ask_tell = AskTell(replace(CONFIRMING, control=True))

    finished = run(ask_tell, lambda _: scores.uniform(0.2, 0.5), in_flight=3, order=order)

    judged = judge(ask_tell.completions, confirm=True)
    confirmed = {p.number for p in ask_tell.proposals if p.role is TrialRole.CONFIRMATION}
    assert finished.succeeded
    assert judged.undecided == ()
    assert confirmed == {int(name) for name in judged.verdicts}
    assert len(confirmed) > 1
    searched = [p for p in ask_tell.proposals if p.role is TrialRole.SEARCH]
    assert len(searched) == CONFIRMING.max_trials  # confirmations are extra
    assert replay(ask_tell.strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals


def test_without_confirmation_everything_is_accepted() -> None:
    ask_tell = undecided(STRATEGY)

    assert judge(ask_tell.completions, confirm=False).accepted == ask_tell.completions
    assert ask(ask_tell).name == "2"


def test_notes_say_what_a_completion_means() -> None:
    ask_tell = undecided()
    judged = ask_tell.history.ended.judged
    notes = [confirmation_note(ended, judged) for ended in ask_tell.completions]
    notes.append(confirmation_note(tell(ask_tell, 0.36), ask_tell.history.ended.judged))
    tell(ask_tell, 0.50)
    notes.append(confirmation_note(tell(ask_tell, None), ask_tell.history.ended.judged))

    assert notes == [
        None,
        None,
        "trial 1 has the best score so far, 40.00%, and will be trained again with another seed "
        "before it is accepted",
        "trial 1 is accepted with a score of 38.00%, the mean of two trainings; the second one "
        "scored 36.00%",
        "trial 2 is not accepted: its confirmation ended as failed",
    ]
