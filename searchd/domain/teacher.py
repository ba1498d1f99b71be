"""Teachers: the detectors that a student is distilled from. Standard library only."""

from dataclasses import dataclass
from typing import Literal

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet

Definition = Literal["mean_of_losses", "average_features"]
"""How the losses of simultaneous teachers are combined: the mean of their losses, with separate
adapters for each teacher (MTPD, appendix B), or one loss against the mean of their features
(appendix E)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTeacher:
    """A teacher that was registered with the service and evaluated then."""

    teacher: str
    """Id of the teacher."""

    def __str__(self) -> str:
        return self.teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class SimultaneousTeachers:
    """Several teachers that teach in the same training step (docs/papers.md 2.7).

    Raises:
        InvalidValueError: There are fewer than two teachers, or two of them are equal.
    """

    teachers: tuple[Subnet | RegisteredTeacher, ...]
    """The teachers, at least two and all different."""
    definition: Definition
    """How their losses are combined."""

    def __post_init__(self) -> None:
        if len(self.teachers) < 2 or len(set(self.teachers)) < len(self.teachers):
            raise InvalidValueError(
                f"simultaneous teachers must be at least two and different, got {self}"
            )

    def __str__(self) -> str:
        together = " + ".join(map(str, self.teachers))
        return f"{together} ({self.definition.replace('_', ' ')})"


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherCandidates:
    """Subnets of which the trial's worker chooses the one nearest to the student as the teacher;
    see `NEAREST` of `searchd.domain.trial.TeacherPolicy`.

    Raises:
        InvalidValueError: There are fewer than two candidates, or two of them are equal.
    """

    candidates: tuple[Subnet, ...]
    """The subnets to choose from, at least two and all different."""

    def __post_init__(self) -> None:
        if len(self.candidates) < 2 or len(set(self.candidates)) < len(self.candidates):
            named = ", ".join(map(str, self.candidates))
            raise InvalidValueError(
                f"candidates to choose a teacher from must be at least two and different, "
                f"got ({named})"
            )

    def __str__(self) -> str:
        return f"nearest of {len(self.candidates)}"


Teacher = Subnet | RegisteredTeacher


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherAp:
    """The measured AP of a teacher."""

    teacher: Teacher
    ap: float
    """COCO AP on the validation split, in [0, 1]."""


Teaching = Teacher | SimultaneousTeachers | TeacherCandidates
"""What a trial is distilled from: a teacher, simultaneous teachers, or candidates for a teacher."""


def teachers_of(teaching: Teaching) -> tuple[Teacher, ...]:
    """Return every teacher that teaches or may be chosen to teach."""
    match teaching:
        case SimultaneousTeachers():
            return teaching.teachers
        case TeacherCandidates():
            return teaching.candidates
        case _:
            return (teaching,)
