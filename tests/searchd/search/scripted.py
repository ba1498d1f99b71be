"""Searches whose trials are not run: a function of the proposal gives each trial's score."""

import random
from collections.abc import Callable

from searchd.domain.architecture import Architecture, preset
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import TeacherCandidates
from searchd.domain.trial import Outcome, Proposal
from searchd.search.ask_tell import AskTell, Completion, Finished, Wait
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.joint_detnas import JointDetNas, JointDetNasSettings

SPACE = SubnetSpace(
    depths=((1, 2),) * 4, widths=((1.0, 1.5),) * 4, neck_channels=(16, 24), base_channels=8
)
STRATEGY = JointDetNas(
    space=SPACE, seed=7, max_trials=12, settings=JointDetNasSettings(min_channels=4)
)
BACKBONE = preset("resnet18", base_channels=16)

Score = Callable[[Proposal], float | None]
"""The score of a trial, given its proposal. None: the trial fails."""


def completion(
    ask_tell: AskTell,
    proposal: Proposal,
    score: float | None,
    architecture: Architecture = BACKBONE,
) -> Completion:
    succeeded, teaching = score is not None, proposal.teacher
    chosen = chosen_of(teaching) if isinstance(teaching, TeacherCandidates) else None
    return Completion(
        sequence=len(ask_tell.completions),
        proposal=proposal,
        outcome=Outcome.SUCCEEDED if succeeded else Outcome.FAILED,
        architecture=architecture if succeeded else None,
        score=score,
        chosen_teacher=chosen if succeeded else None,
    )


def chosen_of(teaching: TeacherCandidates) -> Subnet:
    """Return a candidate instead of measuring costs; it is not always the same one."""
    return max(teaching.candidates, key=str)


def ask(ask_tell: AskTell) -> Proposal:
    proposal = ask_tell.ask()
    assert isinstance(proposal, Proposal), proposal
    return proposal


def with_base(strategy: Strategy = STRATEGY) -> AskTell:
    ask_tell = AskTell(strategy)
    ask_tell.tell(completion(ask_tell, ask(ask_tell), 0.3))
    return ask_tell


def run(ask_tell: AskTell, score: Score, in_flight: int, order: random.Random) -> Finished:
    """Run a search to its end with `in_flight` trials at a time, completed in a random order."""
    running: list[Proposal] = []
    while True:
        decision = ask_tell.ask() if len(running) < in_flight else Wait("slots are taken")
        if isinstance(decision, Finished):
            return decision
        if isinstance(decision, Proposal):
            running.append(decision)
        else:
            done = running.pop(order.randrange(len(running)))
            ask_tell.tell(completion(ask_tell, done, score(done)))


def rising(proposal: Proposal) -> float:
    return 0.3 + proposal.number / 100
