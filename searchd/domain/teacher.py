"""Teachers: what a student may be distilled from. Standard library only."""

from dataclasses import dataclass
from typing import Literal

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet

Definition = Literal["mean_of_losses", "average_features"]
"""What several teachers at once add to the loss: the mean of their losses, each with adapters of
its own (MTPD, appendix B), or one loss against the mean of their features (appendix E)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredTeacher:
    """A teacher of the service's list, evaluated when it was registered."""

    teacher: str
    """Its id."""

    def __str__(self) -> str:
        return self.teacher


@dataclass(frozen=True, slots=True, kw_only=True)
class SimultaneousTeachers:
    """Several teachers in the same step (docs/papers.md 2.7).

    Raises:
        InvalidValueError: There are fewer than two, or one is named twice.
    """

    teachers: tuple[Subnet | RegisteredTeacher, ...]
    definition: Definition

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
    """One of these subnets, which the trial's worker chooses: the nearest to the student; see
    `searchd.domain.trial.TeacherPolicy`.

    Raises:
        InvalidValueError: There are fewer than two, or one is named twice.
    """

    candidates: tuple[Subnet, ...]

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
Teaching = Teacher | SimultaneousTeachers | TeacherCandidates
"""What a trial is distilled from."""


def teachers_of(teaching: Teaching) -> tuple[Teacher, ...]:
    """Each teacher that takes part, or may."""
    match teaching:
        case SimultaneousTeachers():
            return teaching.teachers
        case TeacherCandidates():
            return teaching.candidates
        case _:
            return (teaching,)
