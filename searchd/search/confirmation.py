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
from dataclasses import dataclass, field, replace
from enum import StrEnum

from searchd.domain.trial import Outcome, Proposal, TrialRole, trial_name
from searchd.search.history import Completion, OperatingPoint
from searchd.search.log import Log
from searchd.search.proposals import Proposals
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
class Judgement:
    """The state of candidate incumbents, a value that is extended by one completion."""

    undecided: tuple[Completion, ...] = ()
    """Candidate incumbents whose confirmation has not ended, in the order they ended."""
    decided: Log[tuple[str, Verdict]] = field(default_factory=Log)
    """Name and verdict of all others, in the order in which they were decided."""
    best: float | None = None
    """The best accepted score of a search trial."""

    def after(self, completion: Completion) -> tuple["Judgement", Completion | None]:
        """Return the state after a completion, and the result that is accepted with it, if any. A
        confirmation is merged into the trial that it confirms."""
        if completion.proposal.role is TrialRole.CONFIRMATION:
            return self._after_confirmation(completion)
        if _is_candidate(completion, self.best):
            return replace(self, undecided=(*self.undecided, completion)), None
        return replace(self, best=self._best_with(completion)), completion

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The state of every candidate incumbent, by the trial's name."""
        waiting = {each.proposal.name: Verdict.UNDECIDED for each in self.undecided}
        return {**dict(self.decided), **waiting}

    def _after_confirmation(self, completion: Completion) -> tuple["Judgement", Completion]:
        name = confirmed_by(completion.proposal)
        (first,) = (each for each in self.undecided if each.proposal.name == name)
        result = _merged(first, completion)
        verdict = Verdict.REFUSED if result.score is None else Verdict.CONFIRMED
        state = Judgement(
            undecided=tuple(each for each in self.undecided if each is not first),
            decided=self.decided.appended(name, (name, verdict)),
            best=self._best_with(result),
        )
        return state, result

    def _best_with(self, result: Completion) -> float | None:
        if result.score is None or result.proposal.role is not TrialRole.SEARCH:
            return self.best
        return result.score if self.best is None else max(result.score, self.best)


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
    state = Judgement()
    for completion in completions:
        state, result = state.after(completion)
        if result is not None:
            accepted.append(result)
    return Judged(accepted=accepted, undecided=state.undecided, verdicts=state.verdicts)


def next_confirmation(
    strategy: Strategy,
    proposals: Proposals,
    undecided: Sequence[Completion],
    *,
    completed_before: int,
) -> Proposal | None:
    """Return the confirmation of the first candidate incumbent that has none yet, or None if all
    have one."""
    for first in undecided:
        name = trial_name(TrialRole.CONFIRMATION, first.proposal.number)
        if proposals.find(name) is None:
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


def confirmation_note(completion: Completion, judged: Judged) -> str | None:
    """Describe what a completion means for a candidate incumbent. None: nothing.

    Args:
        completion: A completion of a search with `confirm`.
        judged: The completions up to this one.
    """
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
    """Return the point of a detector that was trained twice; a run ranks all by one kind of AP."""
    ranked = None
    if one.ranked is not None and other.ranked is not None:
        ranked = (one.ranked + other.ranked) / 2
    return replace(one, ap=(one.ap + other.ap) / 2, ranked=ranked)
