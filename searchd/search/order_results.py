"""The results of a distillation: the student's AP after the chosen order, after each baseline, and
after every order of a study (MTPD 4.1, docs/papers.md 2.4 and 2.7).

"Stage" in this module is a stage of the distillation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_plan import STUDENT_NAME, Baseline, Plan, TeacherSequence
from searchd.domain.trial import BASE_NAME, Proposal
from searchd.search.rank_correlation import kendalls_tau
from searchd.search.strategies.progressive_distillation import end_of, rank_among_orders, trials_of
from searchd.search.teacher_order import rank_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedOrder:
    """One order of a study, with the student's AP."""

    order: TeacherSequence
    """The teachers' names, first teacher first."""
    ap: float
    """AP of the student after the last teacher, in [0, 1]."""
    rank: int
    """1 + the number of orders with a strictly higher AP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResults:
    """The student's APs in [0, 1]. None: not trained yet, or its training failed."""

    base: float | None
    """AP before the first teacher."""
    order: float | None
    """AP after the chosen order."""
    baselines: dict[Baseline, float | None]
    """AP after each baseline. A baseline of simultaneous teachers is left out where the order has
    only one teacher."""
    orders: tuple[RankedOrder, ...]
    """Every order that was trained to its end, best first."""
    rank: int | None
    """Rank of the chosen order among `orders`."""
    cost_and_gain: float | None
    """Kendall's tau of adaptation cost and gain in AP over the stages of all orders, in [-1, 1]:
    whether the costs predict what a teacher brings. None: fewer than two stages have both."""


def order_results(
    plan: Plan,
    baselines: Sequence[Baseline],
    proposals: Sequence[Proposal],
    aps: Mapping[str, float],
) -> OrderResults:
    """Return the results of a distillation so far.

    Args:
        plan: The plan of the distillation.
        baselines: The baselines that the spec requests.
        proposals: All proposals of the distillation.
        aps: AP in [0, 1] of every trial that succeeded, by the trial's name, all at the same
            resolution.
    """
    by_stage = stage_aps(plan, proposals, aps)
    orders = {stage: ap for stage, ap in by_stage.items() if plan.is_order(stage)}
    ranked = rank_among_orders(plan, by_stage)
    return OrderResults(
        base=aps.get(BASE_NAME),
        order=by_stage.get(plan.order),
        baselines={
            baseline: by_stage.get(end)
            for baseline in baselines
            if (end := end_of(baseline, plan.order)) in plan.stages
        },
        orders=tuple(
            RankedOrder(order=order, ap=ap, rank=rank_of(order, orders))
            for order, ap in sorted(orders.items(), key=lambda each: -each[1])
        ),
        rank=None if ranked is None else ranked[0],
        cost_and_gain=_cost_and_gain(plan, orders, aps.get(BASE_NAME)),
    )


def _cost_and_gain(
    plan: Plan, orders: Mapping[TeacherSequence, float], base: float | None
) -> float | None:
    before = {(): base, **orders}
    pairs = []
    for stage, ap in orders.items():
        start = before.get(stage[:-1])
        cost = plan.costs.get(([STUDENT_NAME, *stage])[-2] or "", {}).get(stage[-1] or "")
        if start is not None and cost is not None:
            pairs.append((cost, ap - start))
    return kendalls_tau(*zip(*pairs, strict=True)) if pairs else None


def stage_aps(
    plan: Plan, proposals: Sequence[Proposal], aps: Mapping[str, float]
) -> dict[TeacherSequence, float]:
    """Return the student's AP after each stage that succeeded, in the plan's order."""
    trials = trials_of(plan, proposals)
    return {stage: aps[trial.name] for stage, trial in trials.items() if trial.name in aps}
