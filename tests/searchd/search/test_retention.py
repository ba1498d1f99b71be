"""Weights that must be kept: what users compare, and what the search may continue from."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Finish, Proposal, TrialRole
from searchd.search.ask_tell import AskTell, Finished, Wait
from searchd.search.history import OperatingPoint
from searchd.search.retention import Descent, KeptTrial, needed
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings
from searchd.search.strategies.pair_steps import PairSettings
from searchd.search.strategies.pool_search import PoolSearch, PoolSearchSettings
from searchd.search.strategies.random_search import RandomSearch
from tests.searchd.search.scripted import SPACE, completion
from tests.strength import examples


def trial(
    name: str,
    parent: str | None = "base",
    *,
    score: float | None = None,
    macs: float = 4e9,
    role: TrialRole = TrialRole.SEARCH,
    status: TrialStatus = TrialStatus.SUCCEEDED,
    pinned: bool = False,
) -> KeptTrial:
    points = (
        ()
        if score is None
        else (OperatingPoint(resolution=Resolution(64, 64), macs=macs, ap=score),)
    )
    return KeptTrial(
        id=name,
        parent_id=parent,
        role=role,
        status=status,
        score=score,
        points=points,
        pinned=pinned,
    )


BASE = trial("base", None, score=0.5, role=TrialRole.BASE)


def kept(*trials: KeptTrial, descent: Descent = Descent.BEST, wanted: tuple[str, ...] = ()) -> str:
    """Return the names that `needed` keeps of the base and these trials, with a top k of 2."""
    return " ".join(sorted(needed([BASE, *trials], descent=descent, top_k=2, wanted=wanted)))


def test_base_and_best_are_kept() -> None:
    assert kept(trial("0", score=0.6), trial("1", score=0.8), trial("2", score=0.7)) == "1 2 base"


def test_undecided_candidate_and_its_parent_are_kept_besides_the_best() -> None:
    found = (
        BASE,
        trial("0", score=0.30),
        trial("1", "0", score=0.40, macs=5e9),  # confirmed with a mean of 0.32
        trial("2", "0", score=0.31, macs=3.9e9),
        trial("3", "0", score=0.29),
        trial("4", "3", score=0.45),
    )
    _, zero, one, two, three, _ = found
    accepted = [zero, two, three, replace(one, score=0.32, points=())]

    kept = needed(found, descent=Descent.BEST, top_k=2, accepted=accepted, undecided=["4"])

    assert sorted(kept) == ["0", "1", "2", "3", "4", "base"]
    without = needed(found, descent=Descent.BEST, top_k=2, accepted=accepted)
    assert sorted(without) == ["0", "1", "2", "base"]


def test_front_is_kept_whatever_its_score() -> None:
    small = trial("0", score=0.1, macs=1e9)
    assert kept(small, trial("1", score=0.8), trial("2", score=0.7)) == "0 1 2 base"


def test_front_is_kept_at_every_resolution() -> None:
    at_large = KeptTrial(
        id="0",
        parent_id="base",
        role=TrialRole.SEARCH,
        status=TrialStatus.SUCCEEDED,
        score=0.1,
        points=(OperatingPoint(resolution=Resolution(96, 96), macs=9e9, ap=0.4),),
    )
    assert kept(at_large, trial("1", score=0.8), trial("2", score=0.7)) == "0 1 2 base"


def test_parent_and_grandparent_of_a_trial_that_may_run_are_kept() -> None:
    line = [trial("0", score=0.5), trial("1", "0", score=0.51), trial("2", "1", score=0.52)]
    better = [trial("3", score=0.8), trial("4", score=0.7)]
    pending = trial("5", "2", status=TrialStatus.PENDING)
    running = trial("6", "2", status=TrialStatus.RUNNING)
    failed = trial("7", "0", status=TrialStatus.FAILED)
    assert kept(*line, *better, pending) == "1 2 3 4 base"
    cancelled = trial("8", "2", status=TrialStatus.CANCELLED)  # runs if the search is extended
    assert kept(*line, *better, running) == "1 2 3 4 base"
    assert kept(*line, *better, cancelled) == "1 2 3 4 base"
    assert kept(*line, *better, failed) == "3 4 base"


def test_parents_of_the_best_are_kept() -> None:
    assert kept(trial("0", score=0.5), trial("1", "0", score=0.8), trial("2", score=0.7)) == (
        "0 1 2 base"
    )


def test_last_control_is_kept() -> None:
    controls = [trial(f"control-{n}", score=0.4, role=TrialRole.CONTROL) for n in (1, 2)]
    assert kept(trial("0", score=0.8), trial("1", score=0.7), *controls) == "0 1 base control-2"


def test_last_control_before_it_was_finished_is_kept_too() -> None:
    controls = [trial(f"control-{n}", score=0.4, role=TrialRole.CONTROL) for n in (1, 2, 3)]
    controls[2] = replace(controls[2], finishes=True)
    best = (trial("0", score=0.8), trial("1", score=0.7))
    assert kept(*best, *controls) == "0 1 base control-2 control-3"


def test_finished_detectors_are_kept_whatever_their_score() -> None:
    finished = trial("finish-1", "0", score=0.1, role=TrialRole.FINISH)
    assert kept(trial("0", score=0.8), trial("1", score=0.7), finished) == "0 1 base finish-1"


def test_front_of_the_search_trials_is_kept_even_where_the_base_dominates_it() -> None:
    found = (trial("0", score=0.45, macs=5e9), trial("1", score=0.48, macs=6e9))
    chosen = trial("2", score=0.1, macs=4.5e9)  # on the front without the base
    assert kept(*found, chosen) == "0 1 2 base"


def test_pinned_trials_and_what_others_need_are_kept() -> None:
    best = [trial("2", score=0.8), trial("3", score=0.7)]
    others = [trial("0", score=0.1, pinned=True), trial("1", score=0.2), trial("4", score=0.3)]
    assert kept(*best, *others, wanted=("1", "s-other-7")) == "0 1 2 3 base"


def test_everything_is_kept_while_the_run_may_continue_from_any_trial() -> None:
    trials = [trial(str(number), score=number / 10) for number in range(5)]
    failed = trial("5", status=TrialStatus.FAILED)
    assert kept(*trials, failed, descent=Descent.ANY) == "0 1 2 3 4 base"


def test_trials_without_children_are_kept_when_the_run_has_ended() -> None:
    best = [trial("0", score=0.8), trial("1", "0", score=0.7), trial("2", "1", score=0.6)]
    last = trial("3", "2", score=0.1)
    assert kept(*best, last, descent=Descent.NONE) == "0 1 3 base"


def test_nothing_is_kept_of_a_trial_without_weights() -> None:
    assert kept(trial("0", status=TrialStatus.FAILED, pinned=True)) == "base"


class Weights:
    """A search whose weights are removed as soon as they are no longer needed."""

    def __init__(self, strategy: Strategy, top_k: int, descent: Descent) -> None:
        self.ask_tell = AskTell(strategy)
        self.running: list[Proposal] = []
        self.points: dict[str, OperatingPoint] = {}
        self.stored: set[str] = set()
        self._top_k, self._descent = top_k, descent

    def start(self, proposal: Proposal) -> None:
        assert proposal.parent is None or proposal.parent in self.stored
        self.running.append(proposal)

    def end(self, proposal: Proposal, score: float | None, macs: float) -> None:
        assert proposal.parent is None or proposal.parent in self.stored
        self.running.remove(proposal)
        done = completion(self.ask_tell, proposal, score)
        if score is not None:
            point = OperatingPoint(resolution=Resolution(64, 64), macs=macs, ap=score)
            self.points[proposal.name], done = point, replace(done, points=(point,))
        self.ask_tell.tell(done)
        if score is not None:
            self.stored.add(proposal.name)

    def sweep(self) -> None:
        trials = [self._trial(p) for p in self.ask_tell.proposals]
        by_name = {each.id: each for each in trials}
        ended = [by_name[c.proposal.name] for c in self.ask_tell.completions]
        in_flight = [by_name[p.name] for p in self.running]
        self.stored &= needed(
            [*ended, *in_flight], descent=self._descent, top_k=self._top_k, wanted=()
        )

    def _trial(self, proposal: Proposal) -> KeptTrial:
        point = self.points.get(proposal.name)
        ended = self.ask_tell.history.completions.find(proposal.name) is not None
        failed = TrialStatus.FAILED if ended else TrialStatus.PENDING
        return KeptTrial(
            id=proposal.name,
            parent_id=proposal.parent,
            role=proposal.role,
            status=failed if point is None else TrialStatus.SUCCEEDED,
            score=None if point is None else point.ap,
            points=() if point is None else (point,),
            finishes=isinstance(proposal.change, Finish),
        )


@pytest.mark.parametrize(
    ("strategy", "top_k", "descent"),
    [
        (
            JointDetNas(
                space=SPACE, max_trials=14, settings=JointDetNasSettings(top_k=2, min_channels=4)
            ),
            2,
            Descent.BEST,
        ),
        (
            JointDetNas(
                space=SPACE,
                max_trials=9,
                finish=3,
                settings=JointDetNasSettings(top_k=1, min_channels=4),
            ),
            1,
            Descent.BEST,
        ),
        (
            PoolSearch(space=SPACE, max_trials=14, settings=PoolSearchSettings(top_k=1)),
            1,
            Descent.BEST,
        ),
        (
            RandomSearch(space=SPACE, max_trials=10, settings=PairSettings(min_channels=4)),
            5,
            Descent.ANY,
        ),
    ],
)
@settings(max_examples=examples(15, 300), deadline=None)
@given(
    scores=st.lists(st.none() | st.integers(1, 20).map(lambda n: n / 20), min_size=20, max_size=20),
    seed=st.integers(0, 2**16),
)
def test_a_search_never_misses_the_weights_of_a_parent(
    strategy: Strategy, top_k: int, descent: Descent, scores: list[float | None], seed: int
) -> None:
    rng = random.Random(seed)
    weights = Weights(strategy, top_k, descent)
    while not isinstance(decision := weights.ask_tell.ask(), Finished):
        if not isinstance(decision, Wait):
            weights.start(decision)
        if weights.running and (isinstance(decision, Wait) or rng.random() < 0.6):
            done = rng.choice(weights.running)
            is_base = done.role is TrialRole.BASE
            score = 0.5 if is_base else scores[done.number % len(scores)]
            weights.end(done, score, macs=rng.uniform(1e9, 4e9))
        if rng.random() < 0.7:
            weights.sweep()
    weights.sweep()
    assert "base" in weights.stored
