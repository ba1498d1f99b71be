"""A would-be best is trained again, with another seed, before a search accepts it."""

import random
from dataclasses import replace

import pytest

from searchd.domain.architecture import preset
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Proposal, TrialRole
from searchd.search.confirmation import Verdict, judge, remark
from searchd.search.history import Completion, Point, ranking, trials_without_gain
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategies.base import Rules
from searchd.search.strategy import Finished, Strategy, Wait, replay
from tests.searchd.search.scripted import RULES, ask, completion, run, with_base

CONFIRMING = replace(RULES, confirm=True, control=False)
SIZE = Resolution(1333, 800)


def tell(strategy: Strategy, score: float | None) -> Completion:
    """The next trial ends with this score, which is its AP too."""
    return end(strategy, ask(strategy), score)


def end(strategy: Strategy, proposal: Proposal, score: float | None) -> Completion:
    ended = completion(strategy, proposal, score)
    if score is not None:
        ended = replace(ended, points=(Point(resolution=SIZE, ap=score, macs=1e9),))
    strategy.tell(ended)
    return ended


def undecided(rules: Rules = CONFIRMING) -> Strategy:
    """Trial 0 scored 0.30, trial 1 0.40; its confirmation comes next."""
    strategy = with_base(rules)
    tell(strategy, 0.30)
    tell(strategy, 0.40)
    return strategy


def best(strategy: Strategy) -> tuple[str, object]:
    top = ranking(judge(strategy.completions, confirm=True).accepted)[0]
    return top.proposal.name, top.score


def test_would_be_best_is_trained_again_with_another_seed() -> None:
    strategy = undecided()
    first = strategy.completions[-1].proposal

    again = ask(strategy)

    assert (again.name, again.role) == ("confirm-1", TrialRole.CONFIRMATION)
    assert replace(again, role=first.role, seed=first.seed, completed_before=2) == first
    assert again.seed != first.seed
    assert again.completed_before == 3


def test_until_it_is_confirmed_it_is_neither_best_nor_parent() -> None:
    strategy = undecided()
    ask(strategy)

    parents = {ask(strategy).parent for _ in range(8)}

    assert parents == {"0"}
    assert best(strategy) == ("0", 0.30)


def test_pair_counts_with_the_mean_of_both() -> None:
    strategy = undecided()
    tell(strategy, 0.36)

    judged = judge(strategy.completions, confirm=True)

    assert best(strategy) == ("1", pytest.approx(0.38))
    assert judged.accepted[-1].points[0].ap == pytest.approx(0.38)
    assert judged.verdicts == {"1": Verdict.CONFIRMED}
    assert [c.proposal.name for c in judged.accepted] == ["base", "0", "1"]


def test_lucky_one_is_accepted_with_its_mean_and_is_no_best() -> None:
    strategy = undecided()
    tell(strategy, 0.18)

    assert best(strategy) == ("0", 0.30)
    assert trials_without_gain(judge(strategy.completions, confirm=True).accepted) == 1
    assert ask(strategy).name == "2"


def test_without_a_confirmation_the_result_is_not_accepted() -> None:
    strategy = undecided()
    tell(strategy, None)

    judged = judge(strategy.completions, confirm=True)

    assert best(strategy) == ("0", 0.30)
    assert judged.verdicts == {"1": Verdict.REFUSED}
    assert judged.accepted[-1].score is None
    assert {ask(strategy).parent for _ in range(5)} == {"0"}


def test_confirmation_of_another_student_confirms_nothing() -> None:
    strategy = undecided()
    other = preset("resnet18", base_channels=8)
    strategy.tell(completion(strategy, ask(strategy), 0.40, other))

    assert judge(strategy.completions, confirm=True).verdicts == {"1": Verdict.REFUSED}


def test_what_is_not_better_and_the_first_result_are_accepted_as_they_are() -> None:
    strategy = undecided()
    tell(strategy, 0.40)
    tell(strategy, 0.40)

    assert ask(strategy).name == "3"
    assert judge(strategy.completions, confirm=True).verdicts == {"1": Verdict.CONFIRMED}


def test_every_would_be_best_among_trials_in_flight_is_confirmed() -> None:
    strategy = with_base(CONFIRMING)
    tell(strategy, 0.30)
    one, two = ask(strategy), ask(strategy)
    end(strategy, two, 0.40)
    end(strategy, one, 0.35)  # above what is accepted, though not above what is undecided

    second, first = ask(strategy), ask(strategy)
    assert (second.name, first.name) == ("confirm-2", "confirm-1")
    end(strategy, first, 0.35)
    end(strategy, second, 0.20)

    assert best(strategy) == ("1", 0.35)


def test_search_ends_once_the_last_would_be_best_is_decided() -> None:
    strategy = undecided(replace(CONFIRMING, max_trials=2))

    confirmation = ask(strategy)
    assert strategy.ask() == Wait("the last trials are running")
    end(strategy, confirmation, 0.38)

    assert strategy.ask() == Finished("budget: 2 trials", succeeded=True)


def test_controls_are_as_many_as_the_accepted_best_is_deep() -> None:
    strategy = undecided(replace(CONFIRMING, max_trials=2, control=True))
    tell(strategy, 0.10)  # the best is trial 0 again, one step from the base
    tell(strategy, 0.31)

    assert strategy.proposals[-1].name == "control-1"
    assert isinstance(strategy.ask(), Finished)


def test_target_is_reached_by_the_mean() -> None:
    target = Target(ap=0.39)
    strategy = undecided(replace(CONFIRMING, limits=Limits(target=target)))
    tell(strategy, 0.36)

    assert ask(strategy).name == "2"


def test_whole_search_confirms_every_best_and_replays() -> None:
    order, scores = random.Random(3), random.Random(4)
    strategy = Strategy(replace(CONFIRMING, control=True))

    finished = run(strategy, lambda _: scores.uniform(0.2, 0.5), in_flight=3, order=order)

    judged = judge(strategy.completions, confirm=True)
    confirmed = {p.number for p in strategy.proposals if p.role is TrialRole.CONFIRMATION}
    assert finished.succeeded
    assert judged.undecided == ()
    assert confirmed == {int(name) for name in judged.verdicts}
    assert len(confirmed) > 1
    searched = [p for p in strategy.proposals if p.role is TrialRole.SEARCH]
    assert len(searched) == CONFIRMING.max_trials  # confirmations are extra
    assert replay(strategy.rules, strategy.proposals, strategy.completions) == strategy.proposals


def test_without_confirmation_everything_is_accepted() -> None:
    strategy = undecided(RULES)

    assert judge(strategy.completions, confirm=False).accepted == strategy.completions
    assert ask(strategy).name == "2"


def test_it_is_told_what_a_completion_means() -> None:
    strategy = undecided()
    remarks = [remark(ended, strategy.completions) for ended in strategy.completions]
    remarks.append(remark(tell(strategy, 0.36), strategy.completions))
    tell(strategy, 0.50)
    remarks.append(remark(tell(strategy, None), strategy.completions))

    assert remarks == [
        None,
        None,
        "trial 1 has the best score so far, 40.00%, and is trained again with another seed before "
        "it is accepted",
        "trial 1 is accepted with a score of 38.00%, the mean of two trainings; the second has "
        "36.00%",
        "trial 2 is not accepted: its confirmation ended as failed",
    ]
