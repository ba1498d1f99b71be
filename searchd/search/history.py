"""What has happened in a search so far, and what every strategy reads off it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.architecture import Architecture
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teaching
from searchd.domain.trial import Outcome, Proposal, TrialRole


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A trained detector at one resolution."""

    resolution: Resolution
    ap: float
    """COCO AP in [0, 1]."""
    macs: float
    """Of one image at this resolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A trial that ended."""

    sequence: int
    """Position among the search's completions, from 0 without gaps."""
    proposal: Proposal
    outcome: Outcome
    architecture: Architecture | None = None
    """The trained student's. Set if and only if it succeeded."""
    score: float | None = None
    """Best score over the resolutions. Set if and only if it succeeded."""
    points: tuple[OperatingPoint, ...] = ()
    """Of a success, by resolution."""
    busy_s: float = 0.0
    """Seconds that workers had the trial, over all attempts."""
    elapsed_s: float = 0.0
    """From when the search was first started until the trial ended, by the calendar."""
    first_epoch_score: float | None = None
    """After its first epoch, at the largest resolution; of a search that abandons trials."""
    chosen_teacher: Subnet | None = None
    """Of a success whose proposal has candidates."""

    def __post_init__(self) -> None:
        succeeded = self.outcome is Outcome.SUCCEEDED
        if (self.score is not None) != succeeded or (self.architecture is not None) != succeeded:
            raise InvalidValueError(
                f"trial {self.proposal.name}: score and architecture belong to a success, "
                f"got outcome={self.outcome}, score={self.score}"
            )

    @property
    def teacher(self) -> Teaching | None:
        """What the student was distilled from; None: trained without a teacher."""
        return self.chosen_teacher or self.proposal.teacher


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to propose until a trial in flight ends."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing will be proposed any more, and nothing is in flight."""

    reason: str
    succeeded: bool


def trials_in_flight(
    proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> list[Proposal]:
    """Proposals that have not completed."""
    completed = {c.proposal.name for c in completions}
    return [p for p in proposals if p.name not in completed]


def search_trials(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Those of the search itself, without base and controls; the next one's number is their
    number."""
    return [p for p in proposals if p.role is TrialRole.SEARCH]


def completion_of(name: str, completions: Sequence[Completion]) -> Completion | None:
    """How the trial ended; None while it has not."""
    return next((c for c in completions if c.proposal.name == name), None)


def ranking(completions: Sequence[Completion]) -> list[Completion]:
    """Search trials that succeeded, best score first; ties in order of completion."""
    succeeded = [
        c
        for c in completions
        if c.proposal.role is TrialRole.SEARCH and c.outcome is Outcome.SUCCEEDED
    ]
    return sorted(succeeded, key=lambda c: -_score(c))


def lineage(name: str, proposals: Sequence[Proposal]) -> list[str]:
    """Names from the base to the trial, both included."""
    parents = {p.name: p.parent for p in proposals}
    names = [name]
    while (parent := parents[names[-1]]) is not None:
        names.append(parent)
    return names[::-1]


def trials_without_gain(completions: Sequence[Completion]) -> int:
    """Search trials in a row, up to the last one, without a better score than all before."""
    best = float("-inf")
    without_gain = 0
    for completion in completions:
        if completion.proposal.role is not TrialRole.SEARCH:
            continue
        if completion.score is not None and completion.score > best:
            best = completion.score
            without_gain = 0
        else:
            without_gain += 1
    return without_gain


def _score(completion: Completion) -> float:
    assert completion.score is not None  # of successes
    return completion.score
