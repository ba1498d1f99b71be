"""Analytics of a search's recorded trials: Figures 6, 8 and 9 of Joint-DetNAS (docs/papers.md 1.2).

Pure functions over scored trials in the order in which they ended, the base first.
"""

from bisect import bisect_left
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any, TypeVar

from searchd.domain.accuracy import ApKind
from searchd.domain.resolution import Resolution
from searchd.domain.score import Cost
from searchd.search.history import OperatingPoint
from searchd.search.macs_and_latency import TimedTrial, order_agreement
from searchd.search.pareto import pareto_front

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrial:
    """One scored trial: the base, a search trial or a finishing training. Controls are not
    included."""

    trial: str
    """The trial's name."""
    action: str
    """Kind of its change: prune_channels, ..., mutate_teacher, train."""
    score: float
    gain: float | None
    """Its score minus its parent's; None for the base."""
    points: tuple[OperatingPoint, ...]
    methods: tuple[str, ...] | None = None
    """Names of its distillation methods. None: they are not searched, or it had no teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTrial:
    """One scored trial as the service recorded it."""

    id: str
    name: str
    parent_id: str | None
    action: str
    score: float
    points: tuple[OperatingPoint, ...]
    methods: tuple[str, ...] | None = None
    """See `ScoredTrial.methods`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSizes:
    """Parameters of a trial's backbones."""

    student: int
    teacher: int | None
    """None if the trial was trained without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageMacs:
    """Multiply-accumulates of a trial's backbone, by its parts."""

    trial: str
    stem: float
    stages: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysed:
    """The input of a search's document and figures, in the order in which the trials ended."""

    trials: tuple[ScoredTrial, ...]
    sizes: tuple[BackboneSizes, ...]
    """One for each trial."""
    before: StageMacs
    """The base's."""
    after: StageMacs
    """The best detector's."""
    resolution: Resolution
    """The resolution at which stages are counted: the score's base resolution."""
    finished: tuple[ScoredTrial, ...] = ()
    """The detectors that were trained to their end after the search trials."""
    cost: Cost = Cost.MACS
    """What the search counts as cost, against which the front is drawn."""
    accuracy: ApKind = ApKind.BOX_AP
    """Which AP the search ranks by, which the front is of."""
    timed: tuple[TimedTrial, ...] = ()
    """MACs and latency of all these detectors at the largest resolution."""
    timed_by: str = ""
    """Where these latencies are from, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The trials from one improvement of the best score to the next."""

    generation: int
    """The number of improvements over the base's score so far."""
    trial: str
    """The trial that improved the best score."""
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gains:
    """How the trials of one kind changed the scores of their parents."""

    trials: int
    successes: int
    """The number of trials that scored more than their parents."""
    sum_of_gains: float
    """The sum of their gains over the successes."""

    @property
    def success_rate(self) -> float:
        return self.successes / self.trials


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodGains:
    """How the scores of parents changed in trials with a distillation method, and in those without
    it."""

    trials: int
    """Number of trials with the method."""
    mean_gain: float
    """Mean of their gains."""
    others: int
    """Number of trials that were distilled without it."""
    mean_gain_of_others: float | None
    """Mean of the gains of those; None if there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontPoint:
    """One point of a Pareto front of AP against MACs."""

    trial: str
    point: OperatingPoint


def with_gains(trials: Sequence[RecordedTrial]) -> tuple[ScoredTrial, ...]:
    """Return the trials with what each gained on its parent."""
    scores = {trial.id: trial.score for trial in trials}
    return tuple(
        ScoredTrial(
            trial=trial.name,
            action=trial.action,
            score=trial.score,
            gain=trial.score - scores[trial.parent_id] if trial.parent_id in scores else None,
            points=trial.points,
            methods=trial.methods,
        )
        for trial in trials
    )


def index_of_best(trials: Sequence[RecordedTrial], best_id: str | None) -> int:
    """Return the index of the search's best trial: that of this id, else the highest score.

    Args:
        trials: At least one.
        best_id: The best search trial as the service has it; None if no search trial is accepted.
    """
    return max(range(len(trials)), key=lambda i: (trials[i].id == best_id, trials[i].score))


def document(analysed: Analysed) -> dict[str, Any]:
    """Return all analytics of a search as plain values."""
    trials = analysed.trials
    numbers = generations_of(trials)
    rows = zip(trials, numbers, hypervolumes(trials), analysed.sizes, strict=True)
    return {
        "trials": [
            {
                "trial": trial.trial,
                "generation": number,
                "action": trial.action,
                "score": trial.score,
                "gain": trial.gain,
                "hypervolume": volume,
                "student_backbone_params": size.student,
                "teacher_backbone_params": size.teacher,
            }
            for trial, number, volume, size in rows
        ],
        "generations": [asdict(each) for each in generations(trials)],
        "gains_by_action": _plain_gains(gains_by(trials, [trial.action for trial in trials])),
        "gains_by_generation": _plain_gains(gains_by(trials, numbers)),
        "gains_by_method": {name: asdict(each) for name, each in gains_by_method(trials).items()},
        "stage_macs": {
            "resolution": str(analysed.resolution),
            "before": asdict(analysed.before),
            "after": asdict(analysed.after),
        },
        "front": [
            {"trial": each.trial, **asdict(each.point), "resolution": str(each.point.resolution)}
            for each in front((*trials, *analysed.finished))
        ],
        "macs_and_latency": {
            "source": analysed.timed_by,
            "tau": order_agreement(analysed.timed),
            "detectors": [asdict(each) for each in analysed.timed],
        },
    }


def generations_of(trials: Sequence[ScoredTrial]) -> list[int]:
    """Return each trial's generation: how often the best score had improved when it had ended."""
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
    """Return the best score of each generation (Figure 8)."""
    begun: dict[int, Generation] = {}
    for number, trial in zip(generations_of(trials), trials, strict=True):
        begun.setdefault(
            number, Generation(generation=number, trial=trial.trial, score=trial.score)
        )
    return list(begun.values())


def gains_by(trials: Sequence[ScoredTrial], keys: Sequence[K]) -> dict[K, Gains]:
    """Return the gains of the trials that have a parent, grouped by key (Figure 6).

    Args:
        trials: All trials.
        keys: One key for each trial, such as its action or its generation.
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


def gains_by_method(trials: Sequence[ScoredTrial]) -> dict[str, MethodGains]:
    """Return the gains of the trials with and without each method, the largest difference first, of
    a search that searches its methods; empty for others.

    It is no experiment: a method is not drawn by itself, but inherited with a student and a
    teacher.
    """
    taught = [
        (trial.methods, trial.gain)
        for trial in trials
        if trial.methods is not None and trial.gain is not None
    ]
    names = {name for methods, _ in taught for name in methods}
    found = {name: _method_gains(name, taught) for name in names}
    return dict(sorted(found.items(), key=lambda item: (-_difference(item[1]), item[0])))


def _method_gains(name: str, taught: Sequence[tuple[tuple[str, ...], float]]) -> MethodGains:
    having = [gain for methods, gain in taught if name in methods]
    others = [gain for methods, gain in taught if name not in methods]
    return MethodGains(
        trials=len(having),
        mean_gain=mean(having),
        others=len(others),
        mean_gain_of_others=mean(others) if others else None,
    )


def _difference(gains: MethodGains) -> float:
    return gains.mean_gain - (gains.mean_gain_of_others or 0.0)


def front(trials: Sequence[ScoredTrial]) -> list[FrontPoint]:
    """Return the Pareto front of AP against MACs, or what the search counts instead, over all
    trials and resolutions, by ascending cost (Figure 9)."""
    every = [FrontPoint(trial=t.trial, point=point) for t in trials for point in t.points]
    return pareto_front(every, cost=lambda p: p.point.cost, value=lambda p: p.point.accuracy)


def hypervolumes(trials: Sequence[ScoredTrial]) -> list[float]:
    """Return, after each trial, the hypervolume of the front as a share of the plane.

    The plane reaches from cost 0 to the most that any trial has at any resolution, and from AP 0
    to 1. So values of one search can be compared with each other, but not those of two searches.
    """
    worst = max((point.cost for trial in trials for point in trial.points), default=0.0)
    steps, found = _Steps(worst), []
    for trial in trials:
        for point in trial.points:
            steps.add(point.cost, point.accuracy)
        found.append(steps.area / worst if worst else 0.0)
    return found


class _Steps:
    """The best AP up to each cost, and the area below it. Adding n points takes
    O(n log n): each step is added once and removed at most once.

    Args:
        worst: Cost at which the area ends; no point has more.
    """

    def __init__(self, worst: float) -> None:
        self.area = 0.0
        self._worst = worst
        self._costs: list[float] = []
        self._aps: list[float] = []

    def add(self, cost: float, ap: float) -> None:
        """Add a point."""
        start = bisect_left(self._costs, cost)
        before = self._aps[start - 1] if start else 0.0
        end, at, below = start, cost, before
        while end < len(self._costs) and self._aps[end] <= ap:  # steps that the point removes
            self.area += (self._costs[end] - at) * (ap - below)
            at, below = self._costs[end], self._aps[end]
            end += 1
        beyond = self._costs[end] if end < len(self._costs) else self._worst
        equals = end < len(self._costs) and self._costs[end] == cost
        if ap <= before or equals:  # a step at the same cost is as good or better
            return
        self.area += (beyond - at) * (ap - below)
        self._costs[start:end], self._aps[start:end] = [cost], [ap]


def _plain_gains(gains: Mapping[Any, Gains]) -> dict[str, Any]:
    return {
        str(key): {**asdict(each), "success_rate": each.success_rate} for key, each in gains.items()
    }
