"""Budgets besides the number of trials: hours, and a detector that is good enough."""

import random
from dataclasses import replace

import pytest

from searchd.domain.resolution import Resolution
from searchd.domain.trial import TrialRole
from searchd.search.history import Completion, Finished, Point
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategy import Strategy, replay
from tests.searchd.search.scripted import RULES, ask, completion, rising, run, with_base

SMALL = Resolution(64, 64)


def completions(*hours: float, ap: float = 0.3, macs: float = 2e9) -> list[Completion]:
    """The base and then search trials that took so many hours, one after the other."""
    strategy = Strategy(RULES)
    for number in range(len(hours)):
        made = completion(strategy, ask(strategy), ap)
        strategy.tell(
            replace(
                made,
                points=(Point(resolution=SMALL, ap=ap, macs=macs),),
                busy_s=3600 * hours[number],
                elapsed_s=3600 * sum(hours[: number + 1]),
            )
        )
    return strategy.completions


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(), None),
        (Limits(worker_hours=6.5, gpu_hours=13, gpus_per_trial=2, wall_hours=6.5), None),
        (Limits(worker_hours=6), "budget: 6 of 6 worker-hours are spent"),
        (Limits(gpu_hours=9, gpus_per_trial=2), "budget: 12 of 9 GPU-hours are spent"),
        (Limits(gpu_hours=9, gpus_per_trial=0.5), None),
        (Limits(wall_hours=5), "budget: 6 of 5 hours of wall clock are spent"),
        (
            Limits(target=Target(ap=0.3, macs=2e9)),
            "target: trial 0 has AP 30.0% with 2 GMACs at 64x64",
        ),
        (Limits(target=Target(ap=0.3)), "target: trial 0 has AP 30.0% with 2 GMACs at 64x64"),
        (Limits(target=Target(ap=0.31)), None),
        (Limits(target=Target(ap=0.3, macs=1.9e9)), None),
    ],
)
def test_limit_is_reached_when_what_has_ended_says_so(limits: Limits, reason: str | None) -> None:
    assert limits.reached(completions(1, 2, 3)) == reason


def test_nothing_is_spent_before_anything_has_ended() -> None:
    assert Limits(worker_hours=1, wall_hours=1, target=Target(ap=0.1)).reached([]) is None


def test_base_that_is_good_enough_ends_no_search() -> None:
    assert Limits(target=Target(ap=0.2)).reached(completions(1)) is None


def test_hours_of_controls_are_extra() -> None:
    *_, last = ended = completions(1, 2, 3)
    control = replace(last, proposal=replace(last.proposal, role=TrialRole.CONTROL))

    assert Limits(worker_hours=6).reached([*ended[:-1], control]) is None


def test_search_whose_limit_is_reached_ends_with_its_controls_and_can_be_replayed() -> None:
    rules = replace(RULES, limits=Limits(target=Target(ap=0.329)))
    strategy = with_base(rules)

    def tell(made: Completion) -> Completion:
        points = (Point(resolution=SMALL, ap=made.score or 0.0, macs=1e9),)
        return replace(made, points=points)

    for _ in range(4):
        proposal = ask(strategy)
        strategy.tell(tell(completion(strategy, proposal, rising(proposal))))

    finished = run(strategy, rising, in_flight=1, order=random.Random(0))

    assert finished == Finished(
        "target: trial 3 has AP 33.0% with 1 GMACs at 64x64", succeeded=True
    )
    roles = [proposal.role for proposal in strategy.proposals]
    assert roles.count(TrialRole.SEARCH) == 4
    assert TrialRole.CONTROL in roles
    assert replay(rules, strategy.proposals, strategy.completions) == strategy.proposals
