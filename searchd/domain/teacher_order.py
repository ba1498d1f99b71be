"""How an order of teachers may be chosen, and what a choice is (MTPD, paper 003, appendix A)."""

from dataclasses import dataclass
from enum import StrEnum


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
