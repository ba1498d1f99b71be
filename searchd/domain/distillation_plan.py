"""The plan of a progressive distillation: the teachers, their order and the stages (MTPD).

"Stage" in this module is a stage of a distillation: training the student for a number of epochs
with one teacher, with several simultaneous teachers, or without one. Standard library only.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import Definition, SimultaneousTeachers, Teaching

STUDENT_NAME = "student"
"""The student's name among the names of adaptation costs."""


class OrderAlgorithm(StrEnum):
    """How teachers and their order are chosen (docs/papers.md 2.4).

    Attributes:
        BACKWARD_GREEDY: MTPD's Algorithm 1, from the best teacher back to the student.
        SHORTEST_PATH_SUM: The path to the best teacher whose sum of costs is the smallest.
        SHORTEST_PATH_MAX: The path to the best teacher whose largest cost is the smallest.
        FORWARD: Repeatedly the nearest unused teacher, starting from the student.
        EXHAUSTIVE: Of all orders that end at the best teacher, the one with the smallest largest
            cost.
    """

    BACKWARD_GREEDY = "backward_greedy"
    SHORTEST_PATH_SUM = "shortest_path_sum"
    SHORTEST_PATH_MAX = "shortest_path_max"
    FORWARD = "forward"
    EXHAUSTIVE = "exhaustive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One teacher of an order, and why it was chosen."""

    teacher: str
    """Name of the teacher."""
    cost: float | None
    """Adaptation cost to this teacher from the previous one, or from the student for the first
    teacher. None: unknown, which is only possible where the choice did not depend on it."""
    reason: str
    """Why the teacher was chosen: one sentence without a full stop."""


class Baseline(StrEnum):
    """A baseline that an order is compared with. It has as many stages as the order, so that the
    training budgets are equal (docs/papers.md 2.6, 2.7).

    Attributes:
        DIRECT: Only the order's last teacher.
        NO_TEACHER: Training without distillation.
        MEAN_OF_LOSSES: All teachers of the order simultaneously, by the mean of their losses.
        AVERAGE_FEATURES: All teachers of the order simultaneously, by the mean of their features.
    """

    DIRECT = "direct"
    NO_TEACHER = "no_teacher"
    MEAN_OF_LOSSES = "mean_of_losses"
    AVERAGE_FEATURES = "average_features"

    @property
    def definition(self) -> Definition | None:
        """How the simultaneous teachers are combined. None: the baseline has none."""
        match self:
            case Baseline.MEAN_OF_LOSSES:
                return "mean_of_losses"
            case Baseline.AVERAGE_FEATURES:
                return "average_features"
            case _:
                return None


TeacherSequence = tuple[str | None, ...]
"""A stage of a distillation, identified by the names of the teachers that the student has had when
the stage ends; the last one is the teacher of the stage itself. None: a stage without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a progressive distillation trains. It is stored before the first stage and then fixed.

    Raises:
        InvalidValueError: Two teachers are the same, or a stage comes before its parent.
    """

    teachers: dict[str, Teaching]
    """All teachers, by name. Simultaneous teachers have the name of their baseline."""
    choices: tuple[Choice, ...]
    """The chosen teachers in their order, first teacher first."""
    stages: tuple[TeacherSequence, ...]
    """All stages to train, each sequence once. A stage continues from the student of its parent,
    which is the same sequence without its last teacher; parents come before their children."""
    performance: dict[str, float] = field(default_factory=dict)
    """AP of every teacher in [0, 1]. Empty where the spec gives the order."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    """Adaptation costs, costs[A][B] = C(A, B), among teachers and from the student. Empty where the
    spec gives the order."""

    def __post_init__(self) -> None:
        if len(set(self.teachers.values())) < len(self.teachers):
            raise InvalidValueError(f"two of the teachers {list(self.teachers)} are the same")
        for index, stage in enumerate(self.stages):
            if len(stage) > 1 and stage[:-1] not in self.stages[:index]:
                raise InvalidValueError(f"stage {show(stage)} comes before its parent")

    @property
    def order(self) -> TeacherSequence:
        """The chosen teachers' names, first teacher first."""
        return tuple(choice.teacher for choice in self.choices)

    def is_order(self, stage: TeacherSequence) -> bool:
        """Return whether a stage ends an order: a sequence of different single teachers, and not a
        baseline."""
        single = [
            name
            for name in stage
            if name is not None and not isinstance(self.teachers[name], SimultaneousTeachers)
        ]
        return len(set(single)) == len(stage)


def show(path: TeacherSequence) -> str:
    """Return a stage as text: "small > large", "no teacher > no teacher"."""
    return " > ".join(name or "no teacher" for name in path)


def sample_teachers(space: SubnetSpace, num: int, seed: int) -> dict[str, Subnet]:
    """Return `num` different subnets of a pool: "largest", "smallest", then "sampled-1" and so on.

    Raises:
        InvalidValueError: Fewer than `num` different subnets were found.
    """
    found = space.sample_with_extremes(num, random.Random(f"{seed}/teachers"))
    if len(found) < num:
        raise InvalidValueError(
            f"{num} different teachers were asked for, but only {len(found)} could be sampled "
            "from the pool"
        )
    return dict(zip(sampled_names(num), found, strict=True))


def sampled_names(num: int) -> list[str]:
    """Return the names of `num` sampled teachers."""
    return ["largest", "smallest", *(f"sampled-{i}" for i in range(1, num - 1))][:num]
