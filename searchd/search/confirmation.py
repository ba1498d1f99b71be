"""A search may train a would-be best again, with another seed, before it accepts it. Pure.

The best of many noisy scores is likely a lucky one. So a search trial whose score beats all that
were accepted before it is undecided until a second training of the same pair has ended; both are
then one result with their mean score. Undecided, it is neither the best nor a parent, nor does it
count for or against patience. If its confirmation fails it is never accepted, and counts as a trial
that failed.

The first result of a search beats nothing, and is accepted as it is: nobody chose it by its score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from searchd.domain.trial import Outcome, Proposal, TrialRole, trial_name
from searchd.search.history import Completion, OperatingPoint
from searchd.search.strategies.base import Strategy


class Verdict(StrEnum):
    """What became of a would-be best.

    Attributes:
        UNDECIDED: Its confirmation has not ended.
        CONFIRMED: It counts with the mean of both scores, whether that is the best or not.
        REFUSED: Its confirmation failed.
    """

    UNDECIDED = "undecided"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A search's completions as it decides by them."""

    accepted: Sequence[Completion]
    """In the order they were accepted; without confirmations, which are in those they confirm."""
    undecided: Sequence[Completion]
    """Would-be bests, in the order they ended."""
    verdicts: Mapping[str, Verdict]
    """Of would-be bests, by name."""


def judge(completions: Sequence[Completion], *, confirm: bool) -> Judged:
    """What a search knows by now.

    Args:
        completions: In order.
        confirm: Whether would-be bests are trained again; if not, all is accepted as it is.
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
            result = _together(undecided.pop(name), completion)
            verdicts[name] = Verdict.REFUSED if result.score is None else Verdict.CONFIRMED
        elif _beats(completion, best):
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
    """The second training of a would-be best, the first that has none; None if all have one."""
    proposed = {proposal.name for proposal in proposals}
    for first in judged.undecided:
        name = trial_name(TrialRole.CONFIRMATION, first.proposal.number)
        if name not in proposed:
            return replace(
                first.proposal,
                role=TrialRole.CONFIRMATION,
                teacher=first.teacher,  # also where its worker chose it
                seed=strategy.generator(name).getrandbits(31),
                completed_before=completed_before,
            )
    return None


def confirmed_by(confirmation: Proposal) -> str:
    """Name of the trial that a confirmation is of."""
    return trial_name(TrialRole.SEARCH, confirmation.number)


def remark(completion: Completion, completions: Sequence[Completion]) -> str | None:
    """What a completion means for the acceptance of a would-be best, in words; None if nothing.

    Args:
        completion: The last of `completions`.
        completions: Of a search that confirms.
    """
    judged = judge(completions, confirm=True)
    proposal = completion.proposal
    if completion in judged.undecided:
        return (
            f"trial {proposal.name} has the best score so far, {completion.score:.2%}, and is "
            "trained again with another seed before it is accepted"
        )
    if proposal.role is not TrialRole.CONFIRMATION:
        return None
    name, mean = confirmed_by(proposal), judged.accepted[-1].score
    if mean is None:
        return f"trial {name} is not accepted: its confirmation ended as {completion.outcome}"
    return (
        f"trial {name} is accepted with a score of {mean:.2%}, the mean of two trainings; the "
        f"second has {completion.score:.2%}"
    )


def _beats(completion: Completion, best: float | None) -> bool:
    if completion.proposal.role is not TrialRole.SEARCH or completion.score is None:
        return False
    return best is not None and completion.score > best


def _together(first: Completion, second: Completion) -> Completion:
    """One result of both: their means; a failure if the second is none, or of another student (its
    parent was damaged meanwhile, and another one took its place)."""
    if second.score is None or second.architecture != first.architecture:
        return replace(first, outcome=Outcome.FAILED, score=None, architecture=None, points=())
    assert first.score is not None  # of would-be bests
    return replace(
        first,
        score=(first.score + second.score) / 2,
        points=tuple(map(_mean, first.points, second.points)),
    )


def _mean(one: OperatingPoint, other: OperatingPoint) -> OperatingPoint:
    return replace(one, ap=(one.ap + other.ap) / 2)
