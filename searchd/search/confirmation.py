"""Confirmation: a candidate incumbent is trained again before the search accepts it. Pure.

The best of many noisy scores is likely a lucky one. With `confirm`, a search trial whose score is
above all accepted scores is therefore a candidate incumbent: it is undecided until the same pair
has been trained a second time, with another seed. Both trainings then count as one result with the
mean score. While a candidate is undecided it is not the incumbent, not a parent, and does not count
for patience. If its confirmation fails, the candidate is not accepted and counts as a failed trial.

The first result of a search is accepted without a confirmation, since it was not selected by its
score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from searchd.domain.trial import Outcome, Proposal, TrialRole, trial_name
from searchd.search.history import Completion, OperatingPoint
from searchd.search.strategies.base import Strategy


class Verdict(StrEnum):
    """The state of a candidate incumbent.

    Attributes:
        UNDECIDED: Its confirmation has not ended.
        CONFIRMED: It is accepted with the mean of both scores, even where that is not the best
            score.
        REFUSED: Its confirmation failed, so it is not accepted.
    """

    UNDECIDED = "undecided"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The completions of a search, with confirmations taken into account."""

    accepted: Sequence[Completion]
    """Accepted completions, in the order they were accepted. A confirmation is merged into the
    trial that it confirms."""
    undecided: Sequence[Completion]
    """Candidate incumbents whose confirmation has not ended, in the order they ended."""
    verdicts: Mapping[str, Verdict]
    """The state of every candidate incumbent, by the trial's name."""


def judge(completions: Sequence[Completion], *, confirm: bool) -> Judged:
    """Decide which completions of a search are accepted.

    Args:
        completions: All completions of the search, in order.
        confirm: Whether candidate incumbents need a confirmation. If not, every completion is
            accepted unchanged.
    """
    if not confirm:
        return Judged(accepted=completions, undecided=(), verdicts={})
    accepted: list[Completion] = []
    undecided: dict[str, Completion] = {}
    verdicts: dict[str, Verdict] = {}
    best: float | None = None
    for completion in completions:
        result = completion
        if completion.proposal.role is TrialRole.CONFIRMATION:
            name = confirmed_by(completion.proposal)
            result = _merged(undecided.pop(name), completion)
            verdicts[name] = Verdict.REFUSED if result.score is None else Verdict.CONFIRMED
        elif _is_candidate(completion, best):
            undecided[completion.proposal.name] = completion
            verdicts[completion.proposal.name] = Verdict.UNDECIDED
            continue
        accepted.append(result)
        if result.score is not None and result.proposal.role is TrialRole.SEARCH:
            best = result.score if best is None else max(result.score, best)
    return Judged(accepted=accepted, undecided=tuple(undecided.values()), verdicts=verdicts)


def next_confirmation(
    strategy: Strategy, proposals: Sequence[Proposal], judged: Judged, *, completed_before: int
) -> Proposal | None:
    """Return the confirmation of the first candidate incumbent that has none yet, or None if all
    have one."""
    proposed = {proposal.name for proposal in proposals}
    for first in judged.undecided:
        name = trial_name(TrialRole.CONFIRMATION, first.proposal.number)
        if name not in proposed:
            return replace(
                first.proposal,
                role=TrialRole.CONFIRMATION,
                teacher=first.teacher,  # the worker's choice, where the proposal has candidates
                seed=strategy.generator(name).getrandbits(31),
                completed_before=completed_before,
            )
    return None


def confirmed_by(confirmation: Proposal) -> str:
    """Return the name of the trial that a confirmation confirms."""
    return trial_name(TrialRole.SEARCH, confirmation.number)


def confirmation_note(completion: Completion, completions: Sequence[Completion]) -> str | None:
    """Describe what a completion means for a candidate incumbent. None: nothing.

    Args:
        completion: The last of `completions`.
        completions: All completions of a search with `confirm`.
    """
    judged = judge(completions, confirm=True)
    proposal = completion.proposal
    if completion in judged.undecided:
        return (
            f"trial {proposal.name} has the best score so far, {completion.score:.2%}, and will be "
            "trained again with another seed before it is accepted"
        )
    if proposal.role is not TrialRole.CONFIRMATION:
        return None
    name, mean = confirmed_by(proposal), judged.accepted[-1].score
    if mean is None:
        return f"trial {name} is not accepted: its confirmation ended as {completion.outcome}"
    return (
        f"trial {name} is accepted with a score of {mean:.2%}, the mean of two trainings; the "
        f"second one scored {completion.score:.2%}"
    )


def _is_candidate(completion: Completion, best: float | None) -> bool:
    """Return whether a search trial scored above the best accepted score."""
    if completion.proposal.role is not TrialRole.SEARCH or completion.score is None:
        return False
    return best is not None and completion.score > best


def _merged(first: Completion, second: Completion) -> Completion:
    """Return one result with the means of both trainings.

    The result is a failure if the confirmation failed, or if it trained another student because the
    parent's weights were damaged in the meantime and another parent replaced it.
    """
    if second.score is None or second.architecture != first.architecture:
        return replace(first, outcome=Outcome.FAILED, score=None, architecture=None, points=())
    assert first.score is not None  # a candidate incumbent succeeded
    return replace(
        first,
        score=(first.score + second.score) / 2,
        points=tuple(map(_mean, first.points, second.points)),
    )


def _mean(one: OperatingPoint, other: OperatingPoint) -> OperatingPoint:
    return replace(one, ap=(one.ap + other.ap) / 2)
