"""The results of a sweep: the student after the order with each value, and after each baseline.
Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from searchd.domain.distillation_plan import Baseline, Plan
from searchd.domain.trial import Proposal, Scalar, Train, TrainSwept
from searchd.search.strategies.progressive_distillation import end_of, trials_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SweptEnd:
    """The last stage of the order with one value, or of a baseline."""

    value: Scalar | None
    """Value of the setting. None: a baseline, or the spec has null."""
    baseline: Baseline | None
    """The baseline, which is trained as submitted. None: the order."""
    as_submitted: bool
    """Whether it is the order with the value of the spec."""
    trial: Proposal | None
    """The trial of the last stage. None: not proposed yet."""


def swept_ends(
    plan: Plan,
    values: Sequence[tuple[Scalar | None, Train | TrainSwept]],
    baselines: Sequence[Baseline],
    proposals: Sequence[Proposal],
) -> list[SweptEnd]:
    """Return what a sweep compares: the order with each value, then the baselines.

    Args:
        plan: The plan of the distillation.
        values: The values with the changes that train them (`DistillationSpec.compared_values`).
        baselines: The baselines of the spec; those that the plan leaves out are left out.
        proposals: All proposals of the distillation.
    """
    order = [
        SweptEnd(
            value=value,
            baseline=None,
            as_submitted=isinstance(change, Train),
            trial=trials_of(plan, proposals, _swept(change)).get(plan.order),
        )
        for value, change in values
    ]
    trained = trials_of(plan, proposals)
    ends = {baseline: end_of(baseline, plan.order) for baseline in baselines}
    return order + [
        SweptEnd(value=None, baseline=baseline, as_submitted=False, trial=trained.get(end))
        for baseline, end in ends.items()
        if end in plan.stages
    ]


def best_end(ends: Sequence[SweptEnd], aps: Mapping[str, float]) -> SweptEnd | None:
    """Return the value with the highest AP, among several the first; None before one is known.

    Args:
        ends: What the sweep compares.
        aps: AP of each trial that succeeded, by the trial's name.
    """
    known = [
        (aps[end.trial.name], end)
        for end in ends
        if end.baseline is None and end.trial is not None and end.trial.name in aps
    ]
    return max(known, key=lambda each: each[0])[1] if known else None


def _swept(change: Train | TrainSwept) -> TrainSwept | None:
    return None if isinstance(change, Train) else change
