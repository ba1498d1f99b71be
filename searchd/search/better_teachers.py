"""Which teachers are better than a student, as far as their APs are known. Pure.

A teacher that is not better than its student pulls the student down. With `better_only`, a teacher
whose measured AP is not above that of the student is therefore not drawn while there is another
one. Teachers that were not measured may be drawn: the trial measures them. If none is better, the
trial trains without a teacher, unless the settings say otherwise.

Two sources are known: what was measured before the first search trial (the report of the pool, the
evaluation of registered teachers), which is recorded with the search and does not change later, and
the AP that each trial measures of its own teacher. All APs are of the validation split at the
largest resolution of the trials.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.subnet import Subnet
from searchd.domain.teacher import Teacher, TeacherAp, Teaching
from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.teacher_aps import KnownAps

MARGIN = 0.02
"""Difference of AP by which the best teacher should exceed the base. Below it a search warns."""
FINISH_MARGIN = 0.05
"""Difference of AP by which a teacher must exceed a student that is finished under it. A finishing
training is long: students of teachers that were hardly better ended below those that trained
alone (docs/demo.md)."""
MAX_DRAWS = 64
"""Number of draws after which the teachers that a draw can reach count as known to be no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The teachers of a search compared with one student."""

    student_ap: float
    """AP of the student, in [0, 1]."""
    aps: Mapping[Teacher, float]
    """APs of the measured teachers, at least one, in the order in which they became known."""

    @property
    def best(self) -> Teacher:
        """The best of the measured teachers; the first of equals."""
        if isinstance(self.aps, KnownAps):
            return self.aps.best
        return max(self.aps, key=lambda teacher: self.aps[teacher])

    @property
    def best_ap(self) -> float:
        """AP of the best measured teacher."""
        return self.aps[self.best]

    def admits(self, teacher: Teacher) -> bool:
        """Return whether a teacher is better than the student, or not measured."""
        ap = self.aps.get(teacher)
        return ap is None or ap > self.student_ap

    def draw(self, draw: Callable[[], Teacher]) -> Teacher:
        """Draw until a teacher is admitted.

        Args:
            draw: Draws a teacher.

        Returns:
            The first teacher that is admitted; the best measured one if none is after `MAX_DRAWS`.
        """
        for _ in range(MAX_DRAWS):
            teacher = draw()
            if self.admits(teacher):
                return teacher
        return self.best

    def draw_several(self, draw: Callable[[], Subnet], num: int) -> tuple[Subnet, ...]:
        """Draw up to `num` different subnets that are admitted; fewer if `MAX_DRAWS` draws for each
        do not give enough."""
        drawn = (draw() for _ in range(MAX_DRAWS * num))
        found: dict[Subnet, None] = {}  # in the order they were drawn
        for subnet in drawn:
            if self.admits(subnet):
                found[subnet] = None
            if len(found) == num:
                break
        return tuple(found)


def compare(
    measured_before: Sequence[TeacherAp], completions: Completions, student: Completion
) -> Comparison | None:
    """Compare what is known of the teachers with the student of a trial.

    What a trial measured replaces what was known before, since it is of the teacher as it taught.

    Args:
        measured_before: What was known before the first search trial.
        completions: All completions that the strategy sees.
        student: The trial whose student is taught next.

    Returns:
        The comparison; None if no teacher, or not the student, was measured.
    """
    aps = KnownAps(measured_before, completions.teacher_aps)
    student_ap = ap_of(student)
    if not aps or student_ap is None:
        return None
    return Comparison(student_ap=student_ap, aps=aps)


def ap_of(completion: Completion) -> float | None:
    """Return the AP of a trial's student at the largest resolution; None if it was not
    evaluated."""
    if not completion.points:
        return None
    return max(completion.points, key=lambda point: point.resolution.area).ap


def no_better_teacher(comparison: Comparison, teaching: Teaching | None) -> str | None:
    """Describe that no measured teacher is better than the student of a trial.

    Args:
        comparison: The teachers and the student.
        teaching: What the trial is distilled from; None if it trains without a teacher.

    Returns:
        A clause; None if some measured teacher is better.
    """
    if comparison.best_ap > comparison.student_ap:
        return None
    num, student = len(comparison.aps), f"the student's AP of {comparison.student_ap:.1%}"
    if teaching is None:
        return f"{_none_of(num)} is above {student}; it trains without a teacher"
    if teaching not in comparison.aps:
        return f"{_none_of(num)} is above {student}; it trains under one that was not measured yet"
    return f"{_none_of(num)} is above {student}; it trains under the best, {comparison.best_ap:.1%}"


def too_weak(comparison: Comparison, *, pool: str | None) -> str | None:
    """Describe that teaching will hardly pay: no measured teacher exceeds the base by `MARGIN`.

    Args:
        comparison: The teachers, and the base as student.
        pool: Name of the pool of the teachers; None without a pool.

    Returns:
        A sentence that names what to do; None if the best measured teacher is good enough.
    """
    if comparison.best_ap >= comparison.student_ap + MARGIN:
        return None
    longer = ""
    if pool is not None:
        longer = (
            f"train the pool for longer (searchd pool extend {pool} --epochs N) and name the new "
            "pool in the search, or "
        )
    return (
        f"{_none_of(len(comparison.aps))} exceeds the base by {100 * MARGIN:g} points of AP, so "
        f"teaching may cost more than it gains (best teacher {comparison.best_ap:.1%}, base "
        f"{comparison.student_ap:.1%}); {longer}register a better teacher (searchd teacher add) "
        "and name it in teachers.registered"
    )


def extension_epochs(comparison: Comparison, *, margin: float, step: int, left: int) -> int:
    """Return for how many epochs a pool is trained further, so that teaching pays.

    Args:
        comparison: The teachers, and the base as student.
        margin: Difference of AP by which the best teacher must exceed the base.
        step: Number of epochs after which the teachers are compared again.
        left: Number of epochs that may still be spent.

    Returns:
        0 if the teachers are good enough, or no epochs are left.
    """
    if comparison.best_ap >= comparison.student_ap + margin:
        return 0
    return max(0, min(step, left))


def _none_of(num: int) -> str:
    return f"none of the {num} measured teachers" if num > 1 else "no measured teacher"
