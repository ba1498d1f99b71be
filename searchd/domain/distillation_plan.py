"""Progressive distillation: a student taught by a sequence of teachers (MTPD).

Which stages there are, as data. Standard library only.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import Definition, SimultaneousTeachers, Teaching

STUDENT_NAME = "student"
"""What costs call the student, beside the teachers' names."""


class OrderAlgorithm(StrEnum):
    """How teachers, and their order, are chosen from a pool.

    Attributes:
        BACKWARD_GREEDY: The paper's Algorithm 1, from the best teacher back to the student.
        SHORTEST_PATH_SUM: The path to the best teacher with the smallest sum of costs.
        SHORTEST_PATH_MAX: The path to the best teacher with the smallest largest cost.
        FORWARD: Always the nearest teacher, starting from the student.
        EXHAUSTIVE: The best of all orders.
    """

    BACKWARD_GREEDY = "backward_greedy"
    SHORTEST_PATH_SUM = "shortest_path_sum"
    SHORTEST_PATH_MAX = "shortest_path_max"
    FORWARD = "forward"
    EXHAUSTIVE = "exhaustive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One teacher of an order, and why it is there."""

    teacher: str
    cost: float | None
    """Adaptation cost of the step to this teacher: from the student if it is the first, else from
    the teacher before. None if it was not given, which only steps that decided nothing may be."""
    reason: str
    """One sentence, without a full stop."""


class Baseline(StrEnum):
    """What an order is compared with, over as many stages: equal budgets (docs/papers.md 2.7).

    Attributes:
        DIRECT: The order's last teacher alone.
        NO_TEACHER: Plain training.
        MEAN_OF_LOSSES: All teachers of the order at once, by the mean of their losses.
        AVERAGE_FEATURES: All teachers of the order at once, by the mean of their features.
    """

    DIRECT = "direct"
    NO_TEACHER = "no_teacher"
    MEAN_OF_LOSSES = "mean_of_losses"
    AVERAGE_FEATURES = "average_features"

    @property
    def definition(self) -> Definition | None:
        """How teachers teach at once; None where they do not."""
        match self:
            case Baseline.MEAN_OF_LOSSES:
                return "mean_of_losses"
            case Baseline.AVERAGE_FEATURES:
                return "average_features"
            case _:
                return None


TeacherSequence = tuple[str | None, ...]
"""A stage: the teachers, by name, that the student has had when it ends, the stage's own last.
None: a stage without a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a progressive distillation trains. Written down before the first stage, and then fixed.

    Raises:
        InvalidValueError: Two teachers are the same, or a stage comes before the one it goes
            on from.
    """

    teachers: dict[str, Teaching]
    """All that may teach, by name: the teachers, and simultaneous ones by their baseline's."""
    choices: tuple[Choice, ...]
    """The order, first teacher first."""
    stages: tuple[TeacherSequence, ...]
    """Everything to be trained, each prefix once; parents come before their children."""
    performance: dict[str, float] = field(default_factory=dict)
    """AP of every teacher in [0, 1]; empty where the order was given and not chosen."""
    costs: dict[str, dict[str, float]] = field(default_factory=dict)
    """costs[A][B] = C(A, B), the student included; empty where the order was given."""

    def __post_init__(self) -> None:
        if len(set(self.teachers.values())) < len(self.teachers):
            raise InvalidValueError(f"two of the teachers {list(self.teachers)} are the same")
        for index, stage in enumerate(self.stages):
            if len(stage) > 1 and stage[:-1] not in self.stages[:index]:
                raise InvalidValueError(f"stage {show(stage)} comes before the one it goes on from")

    @property
    def order(self) -> TeacherSequence:
        """The chosen teachers' names."""
        return tuple(choice.teacher for choice in self.choices)

    def is_order(self, stage: TeacherSequence) -> bool:
        """Whether a stage ends a sequence of different teachers, and is no baseline's."""
        alone = [
            name
            for name in stage
            if name is not None and not isinstance(self.teachers[name], SimultaneousTeachers)
        ]
        return len(set(alone)) == len(stage)


def show(path: TeacherSequence) -> str:
    """A stage in words: "small > large", "no teacher > no teacher"."""
    return " > ".join(name or "no teacher" for name in path)


def sample_teachers(space: SubnetSpace, num: int, seed: int) -> dict[str, Subnet]:
    """ "largest", "smallest", then "sampled-1", ... of a pool.

    Raises:
        InvalidValueError: The pool has not so many different subnets.
    """
    found = space.sample_with_extremes(num, random.Random(f"{seed}/teachers"))
    if len(found) < num:
        raise InvalidValueError(
            f"{num} different teachers were asked for, but only {len(found)} could be sampled "
            "from the pool"
        )
    return dict(zip(sampled_names(num), found, strict=True))


def sampled_names(num: int) -> list[str]:
    """What sampled teachers are called."""
    return ["largest", "smallest", *(f"sampled-{i}" for i in range(1, num - 1))][:num]
