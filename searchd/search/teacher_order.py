"""Algorithms that choose teachers and their order for a student (MTPD, appendix A).

See docs/papers.md 2.4. C(A, B) is the adaptation cost: the error of the best linear map from A's
neck features to B's. It is zero if B's features contain nothing new, and it is not symmetric. Every
algorithm takes a `Pool`. Ties go to the teacher listed first; between orders, to the order whose
first differing teacher is listed first. "Stage" in this module is a stage of a distillation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from math import isfinite, perm
from typing import TypeVar

from searchd.domain.distillation_plan import Choice, OrderAlgorithm
from searchd.domain.errors import InvalidValueError

MAX_ORDERS = 200_000
"""Largest number of orders that are compared one by one, which takes a few seconds."""

Name = TypeVar("Name")
Costs = Mapping[str, Mapping[str, float]]
"""Adaptation costs, costs[A][B] = C(A, B)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The candidate teachers with their APs and adaptation costs.

    Raises:
        InvalidValueError: There is no teacher, the student is one of the teachers, an AP is not a
            finite number, or `max_teachers` is below 1.
    """

    student: str
    """Name of the student in `costs`."""
    performance: Mapping[str, float]
    """AP of every teacher, in any unit. The order of the names decides ties."""
    costs: Costs
    """Costs among the teachers, and from the student to each teacher. A missing cost is an error
    only where an algorithm needs it (see `cost`)."""
    max_teachers: int
    """Largest number of teachers in an order (k), at least 1. It may exceed the number of
    teachers."""

    def __post_init__(self) -> None:
        if self.max_teachers < 1:
            raise InvalidValueError(f"max_teachers={self.max_teachers} must be at least 1")
        if not self.performance:
            raise InvalidValueError("performance names no teacher")
        if self.student in self.performance:
            raise InvalidValueError(f"student {self.student!r} is also named as a teacher")
        for name, ap in self.performance.items():
            if not isfinite(ap):
                raise InvalidValueError(f"performance of {name!r} is {ap}, must be a finite number")

    @property
    def teachers(self) -> list[str]:
        """The teachers' names, in the order that decides ties."""
        return list(self.performance)

    @property
    def best(self) -> str:
        """The teacher with the highest AP."""
        return max(self.teachers, key=lambda name: self.performance[name])

    @property
    def size(self) -> int:
        """Number of teachers in the longest orders."""
        return min(self.max_teachers, len(self.performance))

    def cost(self, source: str, target: str) -> float:
        """Return C(source, target).

        Raises:
            InvalidValueError: The cost is missing, negative or not a number.
        """
        cost = self.costs.get(source, {}).get(target)
        if cost is None:
            raise InvalidValueError(f"the adaptation cost from {source!r} to {target!r} is missing")
        if not cost >= 0:  # also refuses NaN
            raise InvalidValueError(
                f"the cost from {source!r} to {target!r} is {cost}, must be >= 0"
            )
        return cost

    def steps(self, order: tuple[str, ...]) -> list[float]:
        """Return the costs from the student to the first teacher, then from teacher to teacher."""
        return [self.cost(source, target) for source, target in pairwise((self.student, *order))]


def choose(algorithm: OrderAlgorithm, pool: Pool) -> list[Choice]:
    """Choose teachers and their order for a student.

    Returns:
        The chosen teachers, first teacher first.

    Raises:
        InvalidValueError: A needed cost is missing, negative or not a number, or more than
            `MAX_ORDERS` orders would have to be compared.
    """
    return _ALGORITHMS[algorithm](pool)


def backward_greedy(pool: Pool) -> list[Choice]:
    """Choose an order by MTPD's Algorithm 1: start with the best teacher and extend backwards.

    The teacher that is closest to the current first teacher is put before it, among the teachers
    that are strictly closer to it than the student is. The order is complete when there is none, or
    when it has k teachers.
    """
    order, reasons = [pool.best], [_best_reason(pool)]
    while len(order) < pool.size:
        first = order[0]
        from_student = pool.cost(pool.student, first)
        remaining = [name for name in pool.teachers if name not in order]
        closer = [name for name in remaining if pool.cost(name, first) < from_student]
        if not closer:
            reasons[0] += f"; no other teacher is closer to it than the student ({from_student:g})"
            break
        nearest = min(closer, key=lambda name: pool.cost(name, first))
        order.insert(0, nearest)
        reasons.insert(
            0,
            f"closest to {first} ({pool.cost(nearest, first):g}), "
            f"and closer than the student ({from_student:g})",
        )
    return _choices(pool, order, reasons)


def shortest_path_sum(pool: Pool) -> list[Choice]:
    """Choose the path S -> T1 -> ... -> Tk to the best teacher with the smallest sum of costs.

    The path has exactly k teachers, or all teachers of a smaller pool. If shorter paths were
    allowed, the smallest sum would always be that of the best teacher alone, which contradicts the
    paper's Table 8 (docs/papers.md 2.4).
    """
    return _shortest_path(pool, sum, "sum of costs")


def shortest_path_max(pool: Pool) -> list[Choice]:
    """Choose the path of exactly k teachers to the best one whose largest cost is the smallest."""
    return _shortest_path(pool, max, "largest cost")


def forward(pool: Pool) -> list[Choice]:
    """Choose the teacher nearest to the student, then repeatedly the nearest unused teacher, up to
    k teachers. The order may end at any teacher."""
    order: list[str] = []
    reasons = []
    current = pool.student
    while len(order) < pool.size:
        remaining = [name for name in pool.teachers if name not in order]
        nearest = min(remaining, key=lambda name: pool.cost(current, name))
        reasons.append(
            f"nearest to {current} ({pool.cost(current, nearest):g}) of the unused teachers"
        )
        order.append(nearest)
        current = nearest
    return _choices(pool, order, reasons)


def exhaustive(pool: Pool) -> list[Choice]:
    """Choose, of all orders of up to k teachers that end at the best one, the order with the
    smallest largest cost; of several such orders, the one with the smallest sum.

    In the paper an exhaustive search trains the student by every order (`all_orders`) and compares
    the APs. Before any training, costs are the only information. The largest cost becomes smaller
    when a suitable teacher is inserted, which the sum of the paper's costs does not; the length of
    the order is therefore not fixed here.
    """
    orders = [
        order for size in range(1, pool.size + 1) for order in _orders_to(pool.best, pool, size)
    ]
    best = min(orders, key=lambda order: (max(pool.steps(order)), sum(pool.steps(order))))
    reason = (
        f"of {len(orders)} orders to {pool.best}, its largest cost "
        f"({max(pool.steps(best)):g}) is the smallest"
    )
    return _choices(pool, list(best), [reason] * (len(best) - 1) + [_best_reason(pool)])


def rank_of(order: tuple[Name, ...], scores: Mapping[tuple[Name, ...], float]) -> int:
    """Return 1 + the number of orders after which the student has a strictly higher AP
    (docs/papers.md 2.4).

    Args:
        order: The order to rank, a key of `scores`.
        scores: The student's AP after each order of the comparison.

    Raises:
        InvalidValueError: `scores` does not contain `order`.
    """
    if order not in scores:
        raise InvalidValueError(
            f"the order {' > '.join(map(str, order))} has no measured AP to be ranked by"
        )
    return 1 + sum(ap > scores[order] for ap in scores.values())


def all_orders(teachers: list[str], max_teachers: int) -> list[tuple[str, ...]]:
    """Return every ordered subset of 1 to `max_teachers` teachers, shortest first.

    For 4 teachers there are 4, 16, 40 and 64 orders of up to 1, 2, 3 and 4 teachers
    (docs/papers.md 2.4).

    Raises:
        InvalidValueError: A teacher is named twice, `max_teachers` is below 1, or there are more
            than `MAX_ORDERS` orders.
    """
    if max_teachers < 1:
        raise InvalidValueError(f"max_teachers={max_teachers} must be at least 1")
    if len(set(teachers)) < len(teachers):
        raise InvalidValueError(f"teachers={teachers} must all be different")
    sizes = range(1, min(max_teachers, len(teachers)) + 1)
    _check_number(sum(perm(len(teachers), size) for size in sizes))
    return [order for size in sizes for order in permutations(teachers, size)]


def prefix_tree(orders: Sequence[tuple[Name, ...]]) -> list[tuple[Name, ...]]:
    """Return the stages that must be trained for these orders: every distinct prefix, once.

    The stage `(A, B)` continues from the student of stage `(A,)` with teacher B. A stage of one
    teacher starts from the initial student. Parents come before their children.
    """
    prefixes = (order[:size] for order in orders for size in range(1, len(order) + 1))
    return list(dict.fromkeys(prefixes))


_ALGORITHMS: Mapping[OrderAlgorithm, Callable[[Pool], list[Choice]]] = {
    OrderAlgorithm.BACKWARD_GREEDY: backward_greedy,
    OrderAlgorithm.SHORTEST_PATH_SUM: shortest_path_sum,
    OrderAlgorithm.SHORTEST_PATH_MAX: shortest_path_max,
    OrderAlgorithm.FORWARD: forward,
    OrderAlgorithm.EXHAUSTIVE: exhaustive,
}


def _shortest_path(pool: Pool, length: Callable[[list[float]], float], name: str) -> list[Choice]:
    best = min(_orders_to(pool.best, pool, pool.size), key=lambda order: length(pool.steps(order)))
    reason = (
        f"on the path of {len(best)} teachers to {best[-1]} with the smallest {name} "
        f"({length(pool.steps(best)):g})"
    )
    return _choices(pool, list(best), [reason] * (len(best) - 1) + [_best_reason(pool)])


def _orders_to(last: str, pool: Pool, size: int) -> Iterator[tuple[str, ...]]:
    """Yield every order of `size` teachers that ends at `last`."""
    others = [name for name in pool.teachers if name != last]
    _check_number(perm(len(others), size - 1))
    return ((*before, last) for before in permutations(others, size - 1))


def _check_number(num_orders: int) -> None:
    if num_orders > MAX_ORDERS:
        raise InvalidValueError(
            f"{num_orders:,} orders of teachers exceed {MAX_ORDERS:,}: lower max_teachers or name "
            "fewer teachers"
        )


def _best_reason(pool: Pool) -> str:
    return f"the best teacher (AP {pool.performance[pool.best]:g})"


def _choices(pool: Pool, order: list[str], reasons: list[str]) -> list[Choice]:
    sources = [pool.student, *order[:-1]]
    return [
        Choice(teacher=teacher, cost=pool.costs.get(source, {}).get(teacher), reason=reason)
        for source, teacher, reason in zip(sources, order, reasons, strict=True)
    ]
