"""How the students of a distillation stand: after its order, after what that is compared with, and
after every order of a study (MTPD 4.1, docs/papers.md 2.4 and 2.7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_plan import Baseline, Plan, TeacherSequence
from searchd.domain.trial import BASE_NAME, Proposal
from searchd.search.strategies.progressive_distillation import end_of, rank_among_orders, trials_of
from searchd.search.teacher_order import rank_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedOrder:
    """One order of a study."""

    order: TeacherSequence
    ap: float
    """Of the student after its last teacher."""
    rank: int
    """1 + the number of orders with a strictly higher AP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderResults:
    """APs of the student in [0, 1]; None where it has none yet, or never will."""

    base: float | None
    """Before the first teacher."""
    order: float | None
    """After the chosen order."""
    baselines: dict[Baseline, float | None]
    """After as many stages as the order has. Simultaneous teachers need two: an order of one has no
    such baseline."""
    orders: tuple[RankedOrder, ...]
    """Every order that was trained to its end, best first."""
    rank: int | None
    """The chosen order's among them."""


def order_results(
    plan: Plan,
    baselines: Sequence[Baseline],
    proposals: Sequence[Proposal],
    aps: Mapping[str, float],
) -> OrderResults:
    """What has come of a plan so far.

    Args:
        plan: Of the distillation.
        baselines: That were asked for.
        proposals: All of the distillation.
        aps: By the trial's name, of those that succeeded, all at one resolution.
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
    )


def stage_aps(
    plan: Plan, proposals: Sequence[Proposal], aps: Mapping[str, float]
) -> dict[TeacherSequence, float]:
    """The student's AP after each stage that succeeded, in the plan's order."""
    trials = trials_of(plan, proposals)
    return {stage: aps[trial.name] for stage, trial in trials.items() if trial.name in aps}
