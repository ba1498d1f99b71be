"""A search that counts another cost than MACs decides by that cost alone."""

import random
from dataclasses import replace

import pytest

from searchd.domain.actions import PruneChannels
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.domain.trial import Proposal, PruneToMacs, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait
from searchd.search.completions import Completions
from searchd.search.finishing import to_finish
from searchd.search.history import Completion, OperatingPoint
from searchd.search.macs_and_latency import TimedTrial, order_agreement, source
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategies.pipeline import Pipeline, PipelineSettings
from tests.searchd.search.scripted import SPACE, STRATEGY, ask, completion, rising, with_base

SIZE = Resolution(96, 96)


def point(ap: float, macs: float, seconds: float) -> OperatingPoint:
    return OperatingPoint(resolution=SIZE, ap=ap, macs=macs, counted=seconds)


def searched(*trials: tuple[float, OperatingPoint]) -> list[Completion]:
    """Completions of the base and trials 0, 1, ... with these scores."""
    ask_tell = with_base(replace(STRATEGY, max_trials=len(trials)))
    for score, at in trials:
        done = completion(ask_tell, ask(ask_tell), score)
        ask_tell.tell(replace(done, points=(at,)))
    return ask_tell.completions


def test_the_cost_of_a_point_is_its_macs_unless_another_is_counted() -> None:
    assert OperatingPoint(resolution=SIZE, ap=0.5, macs=2e9).cost == 2e9
    assert point(0.5, 2e9, 0.004).cost == 0.004


def test_detectors_are_finished_from_the_front_of_time() -> None:
    found = searched(
        (0.50, point(0.10, 3e9, 0.001)),  # the fastest, with the most MACs
        (0.60, point(0.40, 2e9, 0.002)),  # the knee
        (0.70, point(0.42, 1e9, 0.003)),  # the best score; would dominate all by MACs
    )
    assert [each.proposal.name for each in to_finish(Completions.of(found), 3)] == ["2", "1", "0"]


def test_at_most_8_ms_is_a_target_of_the_counted_time() -> None:
    fast = searched((0.5, point(0.30, 9e9, 0.008)))
    slow = searched((0.5, point(0.40, 1e9, 0.009)))
    limits = Limits(target=Target(ap=0.3, latency_s=0.008))

    assert limits.reached(Completions.of(fast)) == "target: trial 0 has AP 30.0% with 8 ms at 96x96"
    assert limits.reached(Completions.of(slow)) is None


def test_the_control_has_the_time_of_the_best() -> None:
    strategy = replace(
        STRATEGY, max_trials=2, macs_control=4, cost=Cost.LATENCY, round_to=8, control=False
    )
    ask_tell = AskTell(strategy)
    while not isinstance(decision := ask_tell.ask(), Finished):
        assert not isinstance(decision, Wait)
        is_search = decision.role is TrialRole.SEARCH
        at = point(0.5, 1e9 if is_search else 9e9, 0.003 if is_search else 0.004)
        ask_tell.tell(replace(completion(ask_tell, decision, rising(decision)), points=(at,)))

    (first, *_) = (p for p in ask_tell.proposals if p.role is TrialRole.MACS_CONTROL)
    assert first.change == PruneToMacs(fraction=0.75, cost=Cost.LATENCY, min_channels=4, round_to=8)


def test_channels_are_pruned_to_multiples() -> None:
    strategy = replace(STRATEGY, round_to=8, max_trials=60)
    ask_tell = with_base(strategy)
    changes = []
    while not isinstance(proposal := ask_tell.ask(), Finished):
        assert isinstance(proposal, Proposal)
        changes.append(proposal.change)
        ask_tell.tell(completion(ask_tell, proposal, rising(proposal)))

    prunings = [change for change in changes if isinstance(change, PruneChannels)]
    assert prunings
    assert {each.round_to for each in prunings} == {8}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            PipelineSettings(macs_fraction=None, latency_ms=8.0),
            PruneToMacs(latency_s=0.008, cost=Cost.LATENCY, round_to=8),
        ),
        (
            PipelineSettings(macs_fraction=0.5),
            PruneToMacs(fraction=0.5, cost=Cost.LATENCY, round_to=8),
        ),
    ],
)
def test_a_pipeline_prunes_to_a_target_of_time(
    settings: PipelineSettings, expected: PruneToMacs
) -> None:
    strategy = Pipeline(space=SPACE, max_trials=3, settings=settings, cost=Cost.LATENCY, round_to=8)
    assert ask(with_base(strategy)).change == expected


def test_the_order_of_macs_and_time_is_compared() -> None:
    timed = [
        TimedTrial(trial=str(number), macs=macs, latency_s=seconds)
        for number, (macs, seconds) in enumerate([(1e9, 1.0), (2e9, 3.0), (3e9, 2.0)])
    ]
    assert order_agreement(timed) == pytest.approx(1 / 3)
    assert order_agreement(timed[:1]) is None
    assert source(None) == "measured in torch beside the trials"
    assert source("jetson-1") == "predicted for device jetson-1"


def test_a_replay_does_not_depend_on_the_cost() -> None:
    """The draws of a search by latency are those of a search by MACs while scores are equal."""
    proposals = []
    for cost in (Cost.MACS, Cost.LATENCY):
        ask_tell = with_base(replace(STRATEGY, cost=cost, max_trials=6))
        rng = random.Random(0)
        for _ in range(6):
            proposal = ask(ask_tell)
            ask_tell.tell(completion(ask_tell, proposal, 0.3 + rng.random() / 10))
        proposals.append(ask_tell.proposals)
    assert proposals[0] == proposals[1]
