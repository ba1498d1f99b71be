"""The noise of scores: how far they differ by chance, and which gains may be chance. Pure.

Detection training is not reproducible bit by bit, and changing only the seed changes the score.
"""

from collections.abc import Sequence
from statistics import stdev

from searchd.domain.trial import Proposal, TrialRole, trial_name
from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import Strategy

SIGNIFICANT = 2.0
"""Smallest significant gain, in standard deviations of the noise."""


MAX_SEEDS = 20
"""Largest number of seeds with which trial 0 is trained."""
REPETITIONS = (
    trial_name(TrialRole.SEARCH, 0),
    *(trial_name(TrialRole.NOISE, number) for number in range(1, MAX_SEEDS)),
)
"""Names of trial 0 and of all repetitions that it may have."""


def next_repetition(
    strategy: Strategy, proposals: Proposals, completions: Completions
) -> Proposal | None:
    """Return the next repetition of trial 0 with another seed.

    None: trial 0 was not proposed yet, or it was proposed with all `noise_seeds` seeds.
    """
    number = 1 + len(proposals.of_role(TrialRole.NOISE))
    if not proposals.searched or number >= strategy.noise_seeds:
        return None
    first = proposals.searched[0]
    return Proposal(
        role=TrialRole.NOISE,
        number=number,
        parent=first.parent,
        change=first.change,
        teacher=first.teacher,
        seed=strategy.generator(trial_name(TrialRole.NOISE, number)).getrandbits(31),
        completed_before=len(completions),
        methods=first.methods,
    )


def is_repetition(role: TrialRole, name: str) -> bool:
    """Return whether the trial is trial 0 or one of its repetitions, whose scores differ only by
    chance."""
    return role is TrialRole.NOISE or name == trial_name(TrialRole.SEARCH, 0)


def noise_floor(scores: Sequence[float]) -> float | None:
    """Return the standard deviation of the scores of repetitions; None for fewer than two
    scores."""
    return stdev(scores) if len(scores) > 1 else None


def within_noise(gain: float, floor: float | None) -> bool:
    """Return whether a gain may be chance. False for a loss, and where the noise is not known."""
    return floor is not None and 0 < gain < SIGNIFICANT * floor


def noise_warning(completion: Completion, completions: Completions) -> str | None:
    """Describe why a search trial's gain over its parent may be chance.

    None: the gain is significant, there is no gain, or the noise was not measured.
    """
    proposal = completion.proposal
    parent = completions.find(proposal.parent or "")
    if proposal.role is not TrialRole.SEARCH or parent is None:
        return None
    if completion.score is None or parent.score is None:
        return None
    gain = completion.score - parent.score
    floor = noise_floor(completions.repetition_scores)
    if floor is None or not within_noise(gain, floor):
        return None
    return (
        f"trial {proposal.name} gains {gain:.2%} over trial {parent.proposal.name}, which is less "
        f"than two standard deviations of the noise ({floor:.2%})"
    )


def floor_of(completions: Sequence[Completion]) -> float | None:
    """Return the noise floor of a search; None where it was not measured."""
    return noise_floor(
        [
            completion.score
            for completion in completions
            if is_repetition(completion.proposal.role, completion.proposal.name)
            and completion.score is not None
        ]
    )
