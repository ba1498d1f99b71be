"""Stopping criteria besides the number of trials: budgets of hours, and a target."""

import random
from dataclasses import replace

import pytest

from searchd.domain.resolution import Resolution
from searchd.domain.trial import TrialRole
from searchd.search.ask_tell import AskTell, replay
from searchd.search.completions import Completions
from searchd.search.history import Completion, Finished, OperatingPoint
from searchd.search.stopping_criteria import Limits, Target
from tests.searchd.search.scripted import STRATEGY, ask, completion, rising, run, with_base

SMALL = Resolution(64, 64)


def completions(*hours: float, ap: float = 0.3, macs: float = 2e9) -> Completions:
    """The base and then search trials that took these hours, one after the other."""
    ask_tell = AskTell(STRATEGY)
    for number in range(len(hours)):
        made = completion(ask_tell, ask(ask_tell), ap)
        ask_tell.tell(
            replace(
                made,
                points=(OperatingPoint(resolution=SMALL, ap=ap, macs=macs),),
                busy_s=3600 * hours[number],
                elapsed_s=3600 * sum(hours[: number + 1]),
            )
        )
    return ask_tell.history.completions


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
def test_limits_are_reached_by_trials_that_have_ended(limits: Limits, reason: str | None) -> None:
    assert limits.reached(completions(1, 2, 3)) == reason


def test_nothing_is_spent_before_anything_has_ended() -> None:
    assert (
        Limits(worker_hours=1, wall_hours=1, target=Target(ap=0.1)).reached(Completions()) is None
    )


def test_base_that_reaches_the_target_does_not_stop_the_search() -> None:
    assert Limits(target=Target(ap=0.2)).reached(completions(1)) is None


def test_hours_of_controls_are_extra() -> None:
    *_, last = ended = completions(1, 2, 3)
    control = replace(last, proposal=replace(last.proposal, role=TrialRole.CONTROL))

    assert Limits(worker_hours=6).reached(Completions.of([*ended[:-1], control])) is None


def test_search_whose_limit_is_reached_ends_with_its_controls_and_can_be_replayed() -> None:
    strategy = replace(STRATEGY, limits=Limits(target=Target(ap=0.329)))
    ask_tell = with_base(strategy)

    def tell(made: Completion) -> Completion:
        points = (OperatingPoint(resolution=SMALL, ap=made.score or 0.0, macs=1e9),)
        return replace(made, points=points)

    for _ in range(4):
        proposal = ask(ask_tell)
        ask_tell.tell(tell(completion(ask_tell, proposal, rising(proposal))))

    finished = run(ask_tell, rising, in_flight=1, order=random.Random(0))

    assert finished == Finished(
        "target: trial 3 has AP 33.0% with 1 GMACs at 64x64", succeeded=True
    )
    roles = [proposal.role for proposal in ask_tell.proposals]
    assert roles.count(TrialRole.SEARCH) == 4
    assert TrialRole.CONTROL in roles
    assert replay(strategy, ask_tell.proposals, ask_tell.completions) == ask_tell.proposals
