"""In which order a student is distilled from several teachers (MTPD, appendix A).

C(A, B) is the adaptation cost: how badly a linear map from A's neck features fits B's. Zero means
nothing new in B; the cost is not symmetric. Every algorithm takes a `Pool`; ties go to the teacher
listed first, and between orders to the one whose first differing teacher is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from math import isfinite, perm
from typing import TypeVar

from searchd.domain.distillation_plan import Choice, OrderAlgorithm
from searchd.domain.errors import InvalidValueError

MAX_ORDERS = 200_000
"""That are compared one by one: a few seconds."""

Name = TypeVar("Name")
Costs = Mapping[str, Mapping[str, float]]
"""costs[A][B] = C(A, B)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The teachers that may be chosen, and what is known about them.

    Raises:
        InvalidValueError: There is no teacher, the student is among them, an AP is not a number,
            or `max_teachers` is below 1.
    """

    student: str
    """Its name in `costs`."""
    performance: Mapping[str, float]
    """AP of every teacher, in any unit. The order of the names decides ties."""
    costs: Costs
    """Among the teachers, and from the student to each. Looked up when needed: see `cost`."""
    max_teachers: int
    """Longest order wanted (k), at least 1; it may exceed the number of teachers."""

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
        """Names, in the order that decides ties."""
        return list(self.performance)

    @property
    def best(self) -> str:
        """The teacher of the highest AP."""
        return max(self.teachers, key=lambda name: self.performance[name])

    @property
    def size(self) -> int:
        """Length of the orders that have as many teachers as allowed."""
        return min(self.max_teachers, len(self.performance))

    def cost(self, source: str, target: str) -> float:
        """C(source, target).

        Raises:
            InvalidValueError: It is missing, negative or not a number.
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
        """Costs along student -> first -> ... -> last."""
        return [self.cost(source, target) for source, target in pairwise((self.student, *order))]


def choose(algorithm: OrderAlgorithm, pool: Pool) -> list[Choice]:
    """Teachers for a student, first teacher first.

    Raises:
        InvalidValueError: A needed cost is missing or negative, or more than `MAX_ORDERS` orders
            would have to be compared.
    """
    return _ALGORITHMS[algorithm](pool)


def backward_greedy(pool: Pool) -> list[Choice]:
    """Algorithm 1: start from the best teacher and walk backwards to the student.

    Before the present first teacher O[0] goes the teacher that is closest to it, among those that
    are strictly closer to it than the student is; the order is complete when there is none.
    """
    order, reasons = [pool.best], [_best_reason(pool)]
    while len(order) < pool.size:
        first = order[0]
        from_student = pool.cost(pool.student, first)
        remaining = [name for name in pool.teachers if name not in order]
        closer = [name for name in remaining if pool.cost(name, first) < from_student]
        if not closer:
            reasons[0] += f"; no other is closer to it than the student ({from_student:g})"
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
    """The path S -> T1 -> ... -> Tk to the best teacher whose costs have the smallest sum.

    Exactly k teachers, or all of a smaller pool: if fewer were allowed, the sum would always choose
    the best teacher alone, which contradicts the paper's table 8 (docs/papers.md 2.4).
    """
    return _shortest_path(pool, sum, "sum of costs")


def shortest_path_max(pool: Pool) -> list[Choice]:
    """The path to the best teacher whose largest cost is smallest; exactly k teachers."""
    return _shortest_path(pool, max, "largest cost")


def forward(pool: Pool) -> list[Choice]:
    """The teacher nearest to the student, then always the nearest that is left; k teachers.

    It may end at any teacher.
    """
    order: list[str] = []
    reasons = []
    current = pool.student
    while len(order) < pool.size:
        remaining = [name for name in pool.teachers if name not in order]
        nearest = min(remaining, key=lambda name: pool.cost(current, name))
        reasons.append(f"nearest to {current} ({pool.cost(current, nearest):g}) of what was left")
        order.append(nearest)
        current = nearest
    return _choices(pool, order, reasons)


def exhaustive(pool: Pool) -> list[Choice]:
    """Of all orders of up to k teachers that end at the best one, that with the smallest largest
    cost; among those equal in that, with the smallest sum.

    In the paper exhaustive search means to train the student by every order (`all_orders`) and to
    compare its APs. Before any training the costs must stand in for them. Unlike a sum of the
    paper's costs, the largest cost becomes smaller when the right teacher is inserted, so that the
    length need not be prescribed.
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
    """1 + the number of orders after which the student has a strictly higher AP
    (docs/papers.md 2.4).

    Args:
        order: One of `scores`.
        scores: The student's AP after each order that takes part in the comparison.

    Raises:
        InvalidValueError: `order` was not measured.
    """
    if order not in scores:
        raise InvalidValueError(
            f"the order {' > '.join(map(str, order))} has no measured AP to be ranked by"
        )
    return 1 + sum(ap > scores[order] for ap in scores.values())


def all_orders(teachers: list[str], max_teachers: int) -> list[tuple[str, ...]]:
    """Every ordered subset of 1 to `max_teachers` teachers, shortest first.

    For 4 teachers there are 4, 16, 40 and 64 with up to 1, 2, 3 and 4 of them (docs/papers.md 2.4).

    Raises:
        InvalidValueError: A teacher is named twice, `max_teachers` is below 1, or there are more
            than `MAX_ORDERS`.
    """
    if max_teachers < 1:
        raise InvalidValueError(f"max_teachers={max_teachers} must be at least 1")
    if len(set(teachers)) < len(teachers):
        raise InvalidValueError(f"teachers {teachers} name one twice")
    sizes = range(1, min(max_teachers, len(teachers)) + 1)
    _check_number(sum(perm(len(teachers), size) for size in sizes))
    return [order for size in sizes for order in permutations(teachers, size)]


def prefix_tree(orders: Sequence[tuple[Name, ...]]) -> list[tuple[Name, ...]]:
    """The stages that must be trained for these orders: every distinct prefix, once.

    The stage `(A, B)` distils what came out of `(A,)` from teacher B; a stage of one teacher starts
    from the student. Parents come before their children.
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
    """Every order of `size` teachers that ends at `last`."""
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
