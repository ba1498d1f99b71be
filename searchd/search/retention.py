"""Retention: which trials' weights must be kept. Pure.

Weights are kept if users compare or download them, or if the run may still continue from them.
Weights that are not needed now will never be needed: scores do not change and trials are only
added, so a trial that has left the front or the top k never comes back. Weights may therefore be
removed as soon as they are not needed, whatever the driver proposes in the meantime.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from searchd.domain.lifecycle import TrialStatus
from searchd.domain.trial import CONTROL_ROLES, TrialRole
from searchd.search.history import OperatingPoint
from searchd.search.pareto import pareto_front

DEFAULT_TOP_K = 5
"""Number of best trials that are kept for runs whose strategy has no top k."""
_TO_BE_RUN = (TrialStatus.PENDING, TrialStatus.RUNNING, TrialStatus.CANCELLED)
"""Statuses of trials that may run. Cancelled trials run again when a user extends their run."""


class Descent(StrEnum):
    """Which trials a run may still choose as parents.

    Attributes:
        BEST: The trials with the top k scores.
        ANY: Every trial that succeeded, so all their weights are kept.
        NONE: None, because the run has ended. Its results are the trials without a successful
            child; they are kept.
    """

    BEST = "best"
    ANY = "any"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTrial:
    """The properties of a trial that decide whether its weights are needed."""

    id: str
    """Id of the trial."""
    parent_id: str | None
    """Id of the trial whose student this trial inherits. The parent of a base can be a trial of
    another run."""
    role: TrialRole
    status: TrialStatus
    score: float | None = None
    """Best score over the resolutions. None: not scored."""
    points: tuple[OperatingPoint, ...] = ()
    """AP and MACs at each resolution. Empty: not evaluated."""
    pinned: bool = False
    """Whether a user has pinned the trial."""
    finishes: bool = False
    """Whether its training is a finishing one."""


def needed(
    trials: Sequence[KeptTrial],
    *,
    descent: Descent,
    top_k: int = DEFAULT_TOP_K,
    wanted: Collection[str] = (),
    accepted: Sequence[KeptTrial] | None = None,
    undecided: Collection[str] = (),
) -> frozenset[str]:
    """Return the ids of a run's trials whose weights must be kept.

    Args:
        trials: All trials of the run. Those that have ended are in the order they ended, which
            decides ties.
        descent: Which trials the run may still choose as parents.
        top_k: Number of trials with the best scores that are kept.
        wanted: Ids of trials that are needed outside the run: as origins of other runs, or as
            teachers.
        accepted: Search trials with their accepted scores. None: the run does not confirm candidate
            incumbents.
        undecided: Ids of candidate incumbents whose confirmation has not ended.
    """
    succeeded = [trial for trial in trials if trial.status is TrialStatus.SUCCEEDED]
    if descent is Descent.ANY:
        return frozenset(trial.id for trial in succeeded)
    kept = {trial.id for trial in trials if trial.pinned or trial.id in wanted}
    kept |= {trial.id for trial in trials if trial.role in (TrialRole.BASE, TrialRole.FINISH)}
    kept |= {trial.id for trial in _last_control(succeeded)}
    searched = [trial for trial in succeeded if trial.role is TrialRole.SEARCH]
    # Base and controls may dominate trials that are to be finished.
    kept |= _front(succeeded) | _front(searched if accepted is None else accepted)
    if descent is Descent.NONE:
        kept |= _ends(succeeded)
    best = {trial.id for trial in _best(searched if accepted is None else accepted, top_k)}
    best.update(undecided)  # a confirmation has the same parent as the trial that it confirms
    to_be_run = {trial.id for trial in trials if trial.status in _TO_BE_RUN}
    # Grandparents are kept too: where a parent's weights are damaged, the trial continues from the
    # parent's parent, and a trial that needs a confirmation is run once more.
    parents = _parents(trials, to_be_run)
    kept |= best | parents | _parents(trials, best | parents)
    return frozenset(kept & {trial.id for trial in succeeded})


def _front(succeeded: Sequence[KeptTrial]) -> set[str]:
    """Return the ids of the trials on a Pareto front of AP against MACs, or against what the search
    counts instead: on that of all resolutions together, or on that of one resolution."""
    points = [(trial.id, point) for trial in succeeded for point in trial.points]
    resolutions = {point.resolution for _, point in points}
    by_resolution = [[p for p in points if p[1].resolution == each] for each in resolutions]
    return {
        trial
        for group in (points, *by_resolution)
        for cost in (_macs, _cost)
        for trial, _ in pareto_front(group, cost=cost, value=lambda p: p[1].accuracy)
    }


def _macs(found: tuple[str, OperatingPoint]) -> float:
    return found[1].macs


def _cost(found: tuple[str, OperatingPoint]) -> float:
    return found[1].cost


def _best(searched: Sequence[KeptTrial], top_k: int) -> list[KeptTrial]:
    return sorted(searched, key=lambda trial: -(trial.score or 0.0))[:top_k]


def _last_control(succeeded: Sequence[KeptTrial]) -> list[KeptTrial]:
    """Return the last control of each kind, if any, and the last one before it was finished: they
    were trained longest, so detectors are compared with one, and the next control continues from
    the other."""
    chains = (
        [trial for trial in succeeded if trial.role is role and trial.finishes is finishes]
        for role in CONTROL_ROLES
        for finishes in (False, True)
    )
    return [trial for chain in chains for trial in chain[-1:]]


def _ends(succeeded: Iterable[KeptTrial]) -> set[str]:
    """Return the ids of the trials without a successful child."""
    trials = list(succeeded)
    return {trial.id for trial in trials} - {trial.parent_id for trial in trials}


def _parents(trials: Iterable[KeptTrial], ids: Collection[str]) -> set[str]:
    return {t.parent_id for t in trials if t.id in ids and t.parent_id is not None}
