"""Which trials' weights are needed: what users compare and download, and what a search may still go
on from. Pure.

What is not needed now will not be needed later either: a trial that left the front or the top-k
never comes back, since scores do not change and trials are only added. So weights may be removed as
soon as they are not needed, whatever the driver proposes meanwhile.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import TrialRole
from searchd.search.history import OperatingPoint
from searchd.search.pareto import pareto_front

DEFAULT_TOP_K = 5
"""Of runs whose strategy has none."""
_TO_BE_RUN = (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.CANCELLED)
"""Cancelled trials are run again when a user extends what they belong to."""


class Descent(StrEnum):
    """What a run may still go on from.

    Attributes:
        BEST: One of the top-k.
        ANY: Whatever succeeded; everything is kept.
        NONE: Its course has ended. What nothing went on from is its result, and is kept.
    """

    BEST = "best"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTrial:
    """What of a trial decides whether its weights are needed."""

    id: str
    parent_id: str | None
    """Whose student it inherits; of a base, it may be a trial of another run."""
    role: TrialRole
    status: TrialStatus
    score: float | None = None
    points: tuple[OperatingPoint, ...] = ()
    pinned: bool = False


def needed(
    trials: Sequence[KeptTrial],
    *,
    descent: Descent,
    top_k: int = DEFAULT_TOP_K,
    wanted: Collection[str] = (),
    accepted: Sequence[KeptTrial] | None = None,
    undecided: Collection[str] = (),
) -> frozenset[str]:
    """Ids of a run's trials whose weights must stay.

    Args:
        trials: All of the run: those that ended in the order they did, which decides ties.
        descent: What the run may still go on from.
        top_k: How many of the best scores.
        wanted: Ids that something outside the run needs: other runs' origins, teachers.
        accepted: Of a run that confirms would-be bests: its search trials as they are accepted.
        undecided: Ids of those that wait for their confirmation.
    """
    succeeded = [trial for trial in trials if trial.status is TrialStatus.SUCCEEDED]
    if descent is Descent.ANY:
        return frozenset(trial.id for trial in succeeded)
    kept = {trial.id for trial in trials if trial.pinned or trial.id in wanted}
    kept |= {trial.id for trial in trials if trial.role is TrialRole.BASE}
    kept |= {trial.id for trial in _last_control(succeeded)}
    kept |= _front(succeeded)
    if descent is Descent.NONE:
        kept |= _ends(succeeded)
    if accepted is not None:
        kept |= _front(accepted)
    best = {trial.id for trial in _best(succeeded if accepted is None else accepted, top_k)}
    best.update(undecided)  # their confirmation goes on from the same parent
    to_be_run = {trial.id for trial in trials if trial.status in _TO_BE_RUN}
    # A generation more: a damaged student is replaced by its parent's, and a trial that is
    # doubted is run once more.
    parents = _parents(trials, to_be_run)
    kept |= best | parents | _parents(trials, best | parents)
    return frozenset(kept & {trial.id for trial in succeeded})


def _front(succeeded: Sequence[KeptTrial]) -> set[str]:
    """Of AP against MACs, over all resolutions together and at each."""
    points = [(trial.id, point) for trial in succeeded for point in trial.points]
    resolutions = {point.resolution for _, point in points}
    of_each = [[p for p in points if p[1].resolution == each] for each in resolutions]
    return {
        trial
        for group in (points, *of_each)
        for trial, _ in pareto_front(group, cost=lambda p: p[1].macs, value=lambda p: p[1].ap)
    }


def _best(succeeded: Sequence[KeptTrial], top_k: int) -> list[KeptTrial]:
    searched = [trial for trial in succeeded if trial.role is TrialRole.SEARCH]
    return sorted(searched, key=lambda trial: -(trial.score or 0.0))[:top_k]


def _last_control(succeeded: Sequence[KeptTrial]) -> list[KeptTrial]:
    """Trained longest: the others are compared with it, and a further control goes on from it."""
    return [trial for trial in succeeded if trial.role is TrialRole.CONTROL][-1:]


def _ends(succeeded: Iterable[KeptTrial]) -> set[str]:
    """Trials that no other trial succeeded to go on from."""
    trials = list(succeeded)
    return {trial.id for trial in trials} - {trial.parent_id for trial in trials}


def _parents(trials: Iterable[KeptTrial], ids: Collection[str]) -> set[str]:
    return {t.parent_id for t in trials if t.id in ids and t.parent_id is not None}
