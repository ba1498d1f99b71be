"""A history that grows by one at a time equals the one from scratch, at every step."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import CONTROL_ROLES, Outcome, Proposal, TrialRole
from searchd.search.ask_tell import AskTell, Wait, decide
from searchd.search.completions import Completions
from searchd.search.confirmation import judge
from searchd.search.growing_history import History
from searchd.search.history import Completion, Finished, OperatingPoint, ranking
from searchd.search.noise import floor_of, noise_floor
from searchd.search.pareto import pareto_front
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.pool_search import PoolSearch
from searchd.search.strategies.random_search import RandomSearch
from searchd.search.teacher_aps import KnownAps
from tests.searchd.search.scripted import BACKBONE, SPACE, STRATEGY, chosen_of
from tests.strength import examples

SMALL, LARGE = Resolution(64, 64), Resolution(96, 96)
EVERYTHING = replace(
    STRATEGY,
    max_trials=14,
    patience=9,
    noise_seeds=3,
    confirm=True,
    finish=2,
    measured=(),
    macs_control=4,
    limits=Limits(worker_hours=40, target=Target(ap=0.95, macs=3e9)),
)
STRATEGIES = (
    EVERYTHING,
    replace(EVERYTHING, confirm=False),
    RandomSearch(space=SPACE, max_trials=12, finish=2),
    PoolSearch(space=SPACE, max_trials=12),
)


def ended(proposal: Proposal, sequence: int, rng: random.Random) -> Completion:
    """A trial that succeeds, does nothing, is abandoned or fails, with few different values."""
    outcomes = [Outcome.SUCCEEDED] * 5 + [Outcome.NO_OP, Outcome.ABANDONED, Outcome.FAILED]
    is_base = proposal.role is TrialRole.BASE
    outcome = Outcome.SUCCEEDED if is_base else rng.choice(outcomes)
    common: dict[str, Any] = {
        "sequence": sequence,
        "proposal": proposal,
        "outcome": outcome,
        "busy_s": 3600.0 * rng.randrange(3),
        "elapsed_s": 60.0 * (sequence + rng.random()),
    }
    if outcome is not Outcome.SUCCEEDED:
        return Completion(**common)
    teaching = proposal.teacher
    return Completion(
        **common,
        architecture=BACKBONE,
        score=rng.randrange(8) / 10,
        points=tuple(
            OperatingPoint(resolution=each, ap=rng.randrange(10) / 10, macs=1e9 * rng.randint(1, 4))
            for each in (SMALL, LARGE)
        ),
        first_epoch_score=rng.choice([None, 0.1]),
        chosen_teacher=chosen_of(teaching) if isinstance(teaching, TeacherCandidates) else None,
        teacher_ap=rng.choice([None, rng.randrange(4) / 10]),
    )


def steps(strategy: Strategy, seed: int) -> Iterator[AskTell]:
    """Run a search with random results; the state after each decision and each completion."""
    rng, ask_tell = random.Random(seed), AskTell(strategy)
    while True:
        decision = ask_tell.ask() if len(ask_tell.in_flight) < 3 else Wait("slots are taken")
        if isinstance(decision, Finished):
            return
        if isinstance(decision, Wait):
            done = rng.choice(ask_tell.in_flight)
            ask_tell.tell(ended(done, len(ask_tell.completions), rng))
        yield ask_tell


def facts(found: Completions) -> dict[str, object]:
    """Everything that is kept of completions."""
    return {
        "completions": list(found),
        "ranking": list(found.ranking),
        "best finished": found.best_finished,
        "without gain": found.trials_without_gain,
        "hours": (found.counted_s, found.elapsed_s),
        "repetitions": found.repetition_scores,
        "rises": dict(found.rises),
        "teachers": list(KnownAps((), found.teacher_aps).items()),
        "front": found.front.points,
        "front at the largest resolution": found.front_at_largest.points,
    }


def looked_up(completions: Sequence[Completion]) -> dict[str, object]:
    """The same, each fact by its definition."""
    searched = [c for c in completions if c.proposal.role is TrialRole.SEARCH]
    finished = [
        c for c in completions if c.proposal.role is TrialRole.FINISH and c.score is not None
    ]
    extra = (*CONTROL_ROLES, TrialRole.FINISH)
    best, without_gain = -1.0, 0
    for each in searched:
        without_gain = 0 if each.score is not None and each.score > best else without_gain + 1
        best = max(best, each.score if each.score is not None else -1.0)
    rises: dict[str, tuple[int, float]] = {}
    for each in searched:
        if each.score is not None and each.first_epoch_score is not None:
            num, largest = rises.get(each.proposal.change.kind, (0, -1.0))
            rise = each.score - each.first_epoch_score
            rises[each.proposal.change.kind] = (num + 1, max(largest, rise))
    teachers = {c.teacher: c.teacher_ap for c in completions if c.teacher_ap is not None}
    teachers.pop(None, None)
    points = [(c, point) for c in searched for point in c.points]
    largest_of = [(c, c.points[-1]) for c in ranking(completions) if c.points]
    return {
        "completions": list(completions),
        "ranking": ranking(completions),
        "best finished": max(finished, key=lambda c: c.score or 0.0, default=None),
        "without gain": without_gain,
        "hours": (
            sum(c.busy_s for c in completions if c.proposal.role not in extra),
            max((c.elapsed_s for c in completions), default=0.0),
        ),
        "repetitions": tuple(
            c.score
            for c in completions
            if (c.proposal.role is TrialRole.NOISE or c.proposal.name == "0")
            and c.score is not None
        ),
        "rises": rises,
        "teachers": list(teachers.items()),
        "front": tuple(pareto_front(points, cost=lambda p: p[1].macs, value=lambda p: p[1].ap)),
        "front at the largest resolution": tuple(
            pareto_front(largest_of, cost=lambda p: p[1].macs, value=lambda p: p[1].ap)
        ),
    }


@settings(max_examples=examples(12, 300), deadline=None)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(STRATEGIES))
def test_state_that_grew_equals_the_one_from_scratch_at_every_step(
    seed: int, strategy: Strategy
) -> None:
    for ask_tell in steps(strategy, seed):
        grown, completions = ask_tell.history, ask_tell.completions
        judged = judge(completions, confirm=strategy.confirm)
        assert facts(grown.completions) == looked_up(completions)
        assert facts(grown.accepted) == looked_up(judged.accepted)
        assert grown.ended.judged.undecided == judged.undecided
        assert grown.ended.judged.verdicts == judged.verdicts
        done = {each.proposal.name for each in completions}
        assert ask_tell.in_flight == [p for p in ask_tell.proposals if p.name not in done]
        assert noise_floor(grown.completions.repetition_scores) == floor_of(completions)


@settings(max_examples=examples(12, 300), deadline=None)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(STRATEGIES))
def test_restarted_driver_decides_the_same(seed: int, strategy: Strategy) -> None:
    for ask_tell in steps(strategy, seed):
        again = History.of(ask_tell.proposals, ask_tell.completions, confirm=strategy.confirm)
        assert decide(strategy, again) == decide(strategy, ask_tell.history)
        seen = [list(each.seen.completions) for each in ask_tell.history.in_flight]
        assert [list(each.seen.completions) for each in again.in_flight] == seen


def test_earlier_history_stays_what_it_was_when_two_are_made_from_it() -> None:
    *_, ask_tell = steps(STRATEGY, seed=1)
    proposals, completions = ask_tell.proposals, ask_tell.completions
    start = History.of(proposals[:5], completions[:3], confirm=False)
    before = facts(start.completions)

    once = start.until(5, completions)
    again = start.until(5, completions)

    assert facts(start.completions) == before
    assert facts(once.completions) == facts(again.completions)
    assert [p.name for p in start.proposals] == [p.name for p in proposals[:5]]


def test_completion_of_a_trial_that_is_not_in_flight_is_refused() -> None:
    *_, ask_tell = steps(STRATEGY, seed=1)
    last = ask_tell.completions[-1]
    with pytest.raises(InvalidValueError, match="is not in flight"):
        ask_tell.tell(replace(last, sequence=len(ask_tell.completions)))
