"""The completions of a search with all that decisions derive from them, a value that is extended by
one in O(log n). Pure.

No decision looks at every completion again: what it needs of them is kept here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, overload

from searchd.domain.subnet import Subnet
from searchd.domain.teacher import RegisteredTeacher
from searchd.domain.trial import CONTROL_ROLES, Outcome, TrialRole
from searchd.search.history import Completion, OperatingPoint
from searchd.search.log import Log
from searchd.search.pareto import Front
from searchd.search.sorted_values import SortedValues
from searchd.search.teacher_aps import TrialAps

_NOT_COUNTED = (*CONTROL_ROLES, TrialRole.FINISH)
"""The roles of trials that come after the last search trial."""


class Rises(NamedTuple):
    """How scores rose from the first epoch to the end, over trials with one kind of change."""

    num: int
    largest: float


class Found(NamedTuple):
    """A search trial that succeeded, and its student at one resolution."""

    completion: Completion
    point: OperatingPoint


def _cost(found: Found) -> float:
    return found.point.cost


def _ap(found: Found) -> float:
    return found.point.accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Completions(Sequence[Completion]):
    """Completions in the order in which they became known."""

    log: Log[Completion] = field(default_factory=Log)
    """All of them, to be found by the name of the trial."""
    ranking: SortedValues[Completion] = field(default_factory=SortedValues)
    """The search trials that succeeded, best score first; ties in order of completion."""
    best_finished: Completion | None = None
    """The finishing training with the best score, the first of equals."""
    trials_without_gain: int = 0
    """Number of search trials that have ended since the best score last improved."""
    counted_s: float = 0.0
    """Seconds that workers spent on trials, without finishing trainings and controls."""
    elapsed_s: float = 0.0
    """Wall-clock seconds from the first start of the search to the last end of a trial."""
    repetition_scores: tuple[float, ...] = ()
    """Scores of trial 0 and its repetitions, which differ only by chance."""
    rises: Mapping[str, Rises] = field(default_factory=dict)
    """By kind of change, of search trials whose score after the first epoch is known."""
    rung_scores: Mapping[tuple[str, int], SortedValues[float]] = field(default_factory=dict)
    """Scores of search trials at the end of an epoch, best first, by kind of change and epoch; also
    of trials that were stopped there."""
    teacher_aps: TrialAps = field(default_factory=TrialAps)
    """APs of teachers that the trials have measured."""
    front: Front[Found] = field(default_factory=lambda: Front(cost=_cost, value=_ap))
    """The front of AP against the cost that the search counts, over search trials at all
    resolutions."""
    front_at_largest: Front[Found] = field(default_factory=lambda: Front(cost=_cost, value=_ap))
    """The same at the largest resolution of each trial. Of equal points the one with the better
    score is kept."""

    @classmethod
    def of(cls, completions: Iterable[Completion]) -> "Completions":
        """Return the value with these completions."""
        if isinstance(completions, Completions):
            return completions
        made = cls()
        for completion in completions:
            made = made.after(completion)
        return made

    def after(self, completion: Completion) -> "Completions":
        """Return the completions with one more."""
        name, role = completion.proposal.name, completion.proposal.role
        counted_s = 0.0 if role in _NOT_COUNTED else completion.busy_s
        made = replace(
            self,
            log=self.log.appended(name, completion),
            counted_s=self.counted_s + counted_s,
            elapsed_s=max(self.elapsed_s, completion.elapsed_s),
            repetition_scores=(*self.repetition_scores, *_repetition(completion)),
            teacher_aps=self._teacher_aps(completion),
        )
        if role is TrialRole.SEARCH:
            made = replace(made, rung_scores=self._rung_scores(completion))
            return made._after_search_trial(completion)
        return made._after_finish(completion) if role is TrialRole.FINISH else made

    def find(self, name: str) -> Completion | None:
        """Return the completion of the trial of this name; None while it has not ended."""
        return self.log.find(name)

    @property
    def best_score(self) -> float | None:
        """The best score of a search trial; None if none succeeded."""
        return self.ranking[0].score if self.ranking else None

    def __len__(self) -> int:
        return len(self.log)

    @overload
    def __getitem__(self, index: int) -> Completion: ...

    @overload
    def __getitem__(self, index: slice) -> list[Completion]: ...

    def __getitem__(self, index: int | slice) -> Completion | list[Completion]:
        return self.log[index]

    def _after_search_trial(self, completion: Completion) -> "Completions":
        score, best = completion.score, self.best_score
        if score is None:
            return replace(self, trials_without_gain=self.trials_without_gain + 1)
        is_gain = best is None or score > best
        points = [Found(completion, point) for point in completion.points]
        largest = max(points, key=lambda each: each.point.resolution.area, default=None)
        return replace(
            self,
            trials_without_gain=0 if is_gain else self.trials_without_gain + 1,
            ranking=self.ranking.added((-score, len(self.log)), completion),
            rises=self._rises(completion, score),
            front=self.front.after(*points),
            front_at_largest=self.front_at_largest
            if largest is None
            else self.front_at_largest.after(largest, is_preferred=_has_better_score),
        )

    def _after_finish(self, completion: Completion) -> "Completions":
        if completion.outcome is not Outcome.SUCCEEDED or completion.score is None:
            return self
        best = self.best_finished
        is_best = best is None or completion.score > (best.score or 0.0)
        return replace(self, best_finished=completion) if is_best else self

    def _rises(self, completion: Completion, score: float) -> Mapping[str, Rises]:
        if completion.first_epoch_score is None:
            return self.rises
        kind, rise = completion.proposal.change.kind, score - completion.first_epoch_score
        before = self.rises.get(kind, Rises(0, float("-inf")))
        return {**self.rises, kind: Rises(before.num + 1, max(before.largest, rise))}

    def _rung_scores(self, completion: Completion) -> Mapping[tuple[str, int], SortedValues[float]]:
        if not completion.epoch_scores:
            return self.rung_scores
        found = dict(self.rung_scores)
        for epoch, score in completion.epoch_scores:
            place = (completion.proposal.change.kind, epoch)
            scores = found.get(place, SortedValues())
            found[place] = scores.added((-score, completion.sequence), score)
        return found

    def _teacher_aps(self, completion: Completion) -> TrialAps:
        teacher, ap = completion.teacher, completion.teacher_ap
        if ap is None or not isinstance(teacher, Subnet | RegisteredTeacher):
            return self.teacher_aps
        return self.teacher_aps.after(teacher, ap)


def _repetition(completion: Completion) -> tuple[float, ...]:
    proposal, score = completion.proposal, completion.score
    repeats = proposal.role is TrialRole.NOISE or (
        proposal.role is TrialRole.SEARCH and proposal.number == 0
    )
    return (score,) if repeats and score is not None else ()


def _has_better_score(new: Found, old: Found) -> bool:
    return (new.completion.score or 0.0) > (old.completion.score or 0.0)
