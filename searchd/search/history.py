"""What the history of a search consists of: completions, and decisions that are no proposals.
Pure."""

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
    """COCO AP of boxes in [0, 1]."""
    macs: float
    """Multiply-accumulates of one image at this resolution."""
    counted: float | None = None
    """What the search counts as cost instead of MACs: parameters, or predicted seconds on its
    device. None: it counts MACs."""
    ranked: float | None = None
    """What the search ranks by instead of box AP: mask AP. None: it ranks by box AP."""

    @property
    def accuracy(self) -> float:
        """The AP in [0, 1] that the search ranks by."""
        return self.ap if self.ranked is None else self.ranked

    @property
    def cost(self) -> float:
        """What the search counts as cost."""
        return self.macs if self.counted is None else self.counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A trial that has ended.

    Raises:
        InvalidValueError: A trial that did not succeed has a score or an architecture, or one that
            succeeded lacks them.
    """

    sequence: int
    """Position among the search's completions, from 0 without gaps."""
    proposal: Proposal
    outcome: Outcome
    architecture: Architecture | None = None
    """Architecture of the trained student. Set if and only if the trial succeeded."""
    score: float | None = None
    """Best score over the resolutions. Set if and only if the trial succeeded."""
    points: tuple[OperatingPoint, ...] = ()
    """AP and MACs at each resolution. Empty if the trial did not succeed."""
    busy_s: float = 0.0
    """Seconds that workers spent on the trial, over all attempts."""
    elapsed_s: float = 0.0
    """Wall-clock seconds from the first start of the search to the end of the trial."""
    first_epoch_score: float | None = None
    """Score after the first epoch, at the largest resolution. None unless the search uses early
    stopping."""
    epoch_scores: tuple[tuple[int, float], ...] = ()
    """Epochs at whose end early stopping has scored the trial, each with the score at the largest
    resolution; also of a trial that was stopped there."""
    chosen_teacher: Subnet | None = None
    """The teacher that the worker chose. None unless the trial succeeded and its proposal has
    candidates."""
    teacher_ap: float | None = None
    """AP of the teacher at the largest resolution, as the trial measured it. None: not measured."""

    def __post_init__(self) -> None:
        succeeded = self.outcome is Outcome.SUCCEEDED
        if (self.score is not None) != succeeded or (self.architecture is not None) != succeeded:
            raise InvalidValueError(
                f"trial {self.proposal.name}: score and architecture belong to a success, "
                f"got outcome={self.outcome}, score={self.score}"
            )

    @property
    def teacher(self) -> Teaching | None:
        """What the student was distilled from. None: it was trained without a teacher."""
        return self.chosen_teacher or self.proposal.teacher


@dataclass(frozen=True, slots=True)
class Wait:
    """The decision to propose nothing until a trial in flight ends."""

    reason: str
    """What the search waits for."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The decision that the search has ended. No trial is in flight."""

    reason: str
    """Why the search has ended: the stopping criterion that was met, or the failure."""
    succeeded: bool
    """Whether the search has a result."""


def search_trials(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Return the search trials among the proposals. The number of the next search trial is the
    length of the result."""
    return [p for p in proposals if p.role is TrialRole.SEARCH]


def ranking(completions: Sequence[Completion]) -> list[Completion]:
    """Return the search trials that succeeded, best score first; ties in order of completion."""
    succeeded = [
        c
        for c in completions
        if c.proposal.role is TrialRole.SEARCH and c.outcome is Outcome.SUCCEEDED
    ]
    return sorted(succeeded, key=lambda c: -_score(c))


def lineage(name: str, proposals: Sequence[Proposal]) -> list[str]:
    """Return the names of a trial's ancestors from the base to the trial itself."""
    parents = {p.name: p.parent for p in proposals}
    names = [name]
    while (parent := parents[names[-1]]) is not None:
        names.append(parent)
    return names[::-1]


def _score(completion: Completion) -> float:
    assert completion.score is not None  # the trial succeeded
    return completion.score
