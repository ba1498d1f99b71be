"""The APs of teachers as their trials measured them, a value that is extended in O(log n). Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from searchd.domain.teacher import Teacher, TeacherAp
from searchd.search.log import Log
from searchd.search.sorted_values import SortedValues


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAps:
    """The AP of every teacher that a trial has measured; the latest one counts."""

    teachers: Log[Teacher] = field(default_factory=Log)
    """The teachers in the order in which they were first measured."""
    aps: SortedValues[float] = field(default_factory=SortedValues)
    """Their APs in the same order."""
    best_first: SortedValues[Teacher] = field(default_factory=SortedValues)
    """The teachers with the best AP first; of equals, the one that was measured first."""

    def after(self, teacher: Teacher, ap: float) -> "TrialAps":
        """Return the APs with one more measurement."""
        position = self.teachers.position(teacher)
        if position is None:
            position = len(self.teachers)
            return replace(
                self,
                teachers=self.teachers.appended(teacher, teacher),
                aps=self.aps.added(position, ap),
                best_first=self.best_first.added((-ap, position), teacher),
            )
        kept = self.best_first.removed((-self.aps[position], position))
        return replace(
            self,
            aps=self.aps.added(position, ap),
            best_first=kept.added((-ap, position), teacher),
        )

    def of(self, teacher: Teacher) -> float | None:
        """Return the AP of a teacher; None if no trial has measured it."""
        position = self.teachers.position(teacher)
        return None if position is None else self.aps[position]


class KnownAps(Mapping[Teacher, float]):
    """What is known of teachers: APs from before the first search trial, each replaced by what a
    trial has measured, in the order in which the teachers became known."""

    def __init__(self, before: Sequence[TeacherAp], measured: TrialAps) -> None:
        self._before = {each.teacher: each.ap for each in before}
        self._measured = measured

    def __getitem__(self, teacher: Teacher) -> float:
        found = self._measured.of(teacher)
        return self._before[teacher] if found is None else found

    def __iter__(self) -> Iterator[Teacher]:
        yield from self._before
        yield from (each for each in self._measured.teachers if each not in self._before)

    def __len__(self) -> int:
        added = sum(self._measured.of(teacher) is None for teacher in self._before)
        return len(self._measured.teachers) + added

    @property
    def best(self) -> Teacher:
        """The best of the teachers, at least one; the first of equals."""
        best_of_trials = self._measured.best_first[:1]
        return max([*self._before, *best_of_trials], key=lambda teacher: self[teacher])
