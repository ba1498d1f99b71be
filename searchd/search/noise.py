"""How far scores differ by chance, and which gains are no more than that. Pure.

Detection training does not repeat to the bit, and a seed alone moves the score.
"""

from collections.abc import Sequence
from statistics import stdev

from searchd.domain.trial import Proposal, TrialRole, trial_name
from searchd.search.history import Completion, completion_of, search_trials
from searchd.search.strategies.base import Strategy

SIGNIFICANT = 2.0
"""A gain counts from so many standard deviations on."""


def next_repetition(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> Proposal | None:
    """Trial 0 with another seed, or None if it was proposed on all the seeds that are wanted, or
    itself not yet."""
    number = 1 + sum(p.role is TrialRole.NOISE for p in proposals)
    searched = search_trials(proposals)
    if not searched or number >= strategy.noise_seeds:
        return None
    first = searched[0]
    return Proposal(
        role=TrialRole.NOISE,
        number=number,
        parent=first.parent,
        change=first.change,
        teacher=first.teacher,
        seed=strategy.generator(trial_name(TrialRole.NOISE, number)).getrandbits(31),
        completed_before=len(completions),
    )


def is_repetition(role: TrialRole, name: str) -> bool:
    """Whether the trial is one of those whose scores differ by chance alone."""
    return role is TrialRole.NOISE or name == trial_name(TrialRole.SEARCH, 0)


def noise_floor(scores: Sequence[float]) -> float | None:
    """Standard deviation of the scores of repetitions; None of fewer than two."""
    return stdev(scores) if len(scores) > 1 else None


def within_noise(gain: float, floor: float | None) -> bool:
    """Whether a gain may be chance. A loss is none; of an unknown noise nothing can be said."""
    return floor is not None and 0 < gain < SIGNIFICANT * floor


def doubt(completion: Completion, completions: Sequence[Completion]) -> str | None:
    """Why a search trial's gain over its parent is not to be relied on, in words; None if it is, or
    if it has none, or if the noise is not measured."""
    proposal = completion.proposal
    parent = completion_of(proposal.parent or "", completions)
    if proposal.role is not TrialRole.SEARCH or parent is None:
        return None
    if completion.score is None or parent.score is None:
        return None
    gain, floor = completion.score - parent.score, floor_of(completions)
    if floor is None or not within_noise(gain, floor):
        return None
    return (
        f"trial {proposal.name} gains {gain:.2%} over trial {parent.proposal.name}, which is less "
        f"than two standard deviations of the noise ({floor:.2%})"
    )


def floor_of(completions: Sequence[Completion]) -> float | None:
    """The search's noise floor, as far as it is measured."""
    return noise_floor(
        [
            completion.score
            for completion in completions
            if is_repetition(completion.proposal.role, completion.proposal.name)
            and completion.score is not None
        ]
    )
