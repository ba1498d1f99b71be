"""In which order a student is distilled from several teachers (MTPD, paper 003, appendix A).

C(A, B) is the adaptation cost: how badly a linear map from A's neck features fits B's. Zero means
nothing new in B; the cost is not symmetric.
"""

from collections.abc import Mapping

from searchd.domain.errors import InvalidValueError

Costs = Mapping[str, Mapping[str, float]]
"""costs[A][B] = C(A, B)."""


def backward_greedy(
    *, student: str, performance: Mapping[str, float], costs: Costs, max_teachers: int
) -> list[str]:
    """Algorithm 1: start from the best teacher and walk backwards to the student.

    Before the present first teacher O[0] goes the teacher that is closest to it, among those that
    are strictly closer to it than the student is; the order is complete when there is none.

    Args:
        student: The student's name in `costs`.
        performance: AP of every teacher of the pool. Ties go to the teacher listed first.
        costs: C(., .) among the teachers, and from the student to each.
        max_teachers: Longest order wanted (k), at least 1.

    Returns:
        Names of the teachers, first teacher first; at most `max_teachers`, and fewer when no
        teacher is closer than the student.

    Raises:
        InvalidValueError: There is no teacher, the student is among them, a needed cost is missing
            or negative, or `max_teachers` is below 1.
    """
    if max_teachers < 1:
        raise InvalidValueError(f"max_teachers={max_teachers} must be at least 1")
    if not performance:
        raise InvalidValueError("performance names no teacher")
    if student in performance:
        raise InvalidValueError(f"student {student!r} is also named as a teacher")
    remaining = list(performance)
    last = max(remaining, key=lambda name: performance[name])
    order = [last]
    remaining.remove(last)
    while len(order) < max_teachers:
        first = order[0]
        from_student = _cost(costs, student, first)
        closer = [name for name in remaining if _cost(costs, name, first) < from_student]
        if not closer:
            break
        nearest = min(closer, key=lambda name: _cost(costs, name, first))
        order.insert(0, nearest)
        remaining.remove(nearest)
    return order


def _cost(costs: Costs, source: str, target: str) -> float:
    cost = costs.get(source, {}).get(target)
    if cost is None:
        raise InvalidValueError(f"the adaptation cost from {source!r} to {target!r} is missing")
    if not cost >= 0:  # also refuses NaN
        raise InvalidValueError(f"the cost from {source!r} to {target!r} is {cost}, must be >= 0")
    return cost
