"""What a search's recorded trials say about it: Figures 6, 8 and 9 of Joint-DetNAS
(docs/papers.md 1.2).

Pure functions over scored trials in the order in which they ended, the base first.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from searchd.search.history import OperatingPoint
from searchd.search.pareto import pareto_front

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrial:
    """One trial that was scored: the base, or one of the search's. Controls are no part of it."""

    trial: str
    action: str
    """Kind of its change: prune_channels, ..., mutate_teacher, train."""
    score: float
    gain: float | None
    """Its score less its parent's; None for the base."""
    points: tuple[OperatingPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """From one improvement of the best score to the next."""

    generation: int
    """Number of improvements over the base's score so far."""
    trial: str
    """Whose score began it."""
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """What trials of one kind did to the score of their parents."""

    trials: int
    successes: int
    """Trials that scored more than their parents."""
    sum_of_gains: float
    """Over the successes."""

    @property
    def success_rate(self) -> float:
        return self.successes / self.trials


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One point of a Pareto front of AP against MACs."""

    trial: str
    point: OperatingPoint


def generations_of(trials: Sequence[ScoredTrial]) -> list[int]:
    """Of each trial, how often the best score had improved when it had ended, by it included."""
    found: list[int] = []
    best = None
    for trial in trials:
        if best is None:
            found.append(0)
        else:
            found.append(found[-1] + (trial.score > best))
        best = trial.score if best is None else max(best, trial.score)
    return found


def generations(trials: Sequence[ScoredTrial]) -> list[Generation]:
    """The best score, generation by generation (Figure 8)."""
    begun: dict[int, Generation] = {}
    for number, trial in zip(generations_of(trials), trials, strict=True):
        begun.setdefault(
            number, Generation(generation=number, trial=trial.trial, score=trial.score)
        )
    return list(begun.values())


def gains_by(trials: Sequence[ScoredTrial], keys: Sequence[K]) -> dict[K, Gains]:
    """Gains of the trials that have a parent, grouped by each trial's key (Figure 6).

    Args:
        trials: All.
        keys: One for each trial, such as its action or its generation.
    """
    gains: dict[K, list[float]] = {}
    for key, trial in zip(keys, trials, strict=True):
        if trial.gain is not None:
            gains.setdefault(key, []).append(trial.gain)
    return {
        key: Gains(
            trials=len(found),
            successes=sum(gain > 0 for gain in found),
            sum_of_gains=sum(gain for gain in found if gain > 0),
        )
        for key, found in gains.items()
    }


def front(trials: Sequence[ScoredTrial]) -> list[FrontPoint]:
    """AP against MACs over all trials and resolutions, by ascending MACs (Figure 9)."""
    every = [FrontPoint(trial=t.trial, point=point) for t in trials for point in t.points]
    return pareto_front(every, cost=lambda p: p.point.macs, value=lambda p: p.point.ap)


def hypervolumes(trials: Sequence[ScoredTrial]) -> list[float]:
    """After each trial, the share of the plane that the front so far dominates.

    The plane reaches from MACs 0 to the most that any trial has at any resolution, and from AP 0
    to 1. So the numbers of one search can be compared with each other, and those of two searches
    cannot.
    """
    worst = max((point.macs for trial in trials for point in trial.points), default=0.0)
    return [_dominated(front(trials[:count]), worst) for count in range(1, len(trials) + 1)]


def _dominated(points: Sequence[FrontPoint], worst: float) -> float:
    """Area below the front's steps, up to `worst` MACs, over the whole plane's."""
    ends = [*(each.point.macs for each in points[1:]), worst]
    area = sum(
        (end - each.point.macs) * each.point.ap for each, end in zip(points, ends, strict=True)
    )
    return area / worst
