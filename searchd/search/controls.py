"""Controls: what a search is compared with, trained after its last search trial. Pure.

Each control continues the one before, so that the last one was trained as long as the best. If the
best was finished, so is the last control, by the same schedule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from searchd.domain.trial import (
    BASE_NAME,
    Change,
    Finish,
    Outcome,
    Proposal,
    PruneToMacs,
    Train,
    TrialRole,
    trial_name,
)
from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import Strategy

LARGEST_FRACTION = 0.98
"""Share of the base's MACs above which the best has no control of equal MACs: that pruning reaches
a target to within 2 %, so that the control of equal length has about these MACs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """The trainings from the base to the best, which a chain of controls repeats."""

    trials: int
    """Number of search trials; at least 1."""
    finishes: bool
    """Whether a finishing training follows them."""

    @classmethod
    def of(cls, best: Proposal, proposals: Proposals) -> Self:
        """Return the course of the best detector: a search trial, or a finishing training."""
        finishes = best.role is TrialRole.FINISH
        trained = len(proposals.lineage(best.name)) - 1
        return cls(trials=trained - finishes, finishes=finishes)


def next_control(
    strategy: Strategy,
    course: Course,
    proposals: Proposals,
    completions: Completions,
) -> Proposal | None:
    """Return the next control of equal length, which trains the base further without teacher.

    Args:
        strategy: The strategy with its settings.
        course: The trainings from the base to the best.
        proposals: All proposals made so far, in order.
        completions: All completions so far.

    Returns:
        None if the controls have been trained as long as the best, if the last one has not
        succeeded, or if the strategy has none.
    """
    if not strategy.control:
        return None
    chain = proposals.of_role(TrialRole.CONTROL)
    return _next(strategy, TrialRole.CONTROL, len(chain), chain, course, completions)


def next_macs_control(
    strategy: Strategy,
    best: Completion,
    course: Course,
    proposals: Proposals,
    completions: Completions,
) -> Proposal | None:
    """Return the next control of equal MACs, or of an equal cost where the search counts another:
    the first prunes the base, the others train it on.

    A search that was extended may have a new best with other MACs, for which the base is pruned
    anew.

    Args:
        strategy: The strategy with its settings.
        best: The best detector, finished if finishing has made it better.
        course: As for `next_control`.
        proposals: As for `next_control`.
        completions: As for `next_control`.

    Returns:
        None as for `next_control`, and if the best has about as many MACs as the base, or more.
    """
    fraction = _fraction(best, completions)
    if strategy.macs_control is None or fraction is None or fraction > LARGEST_FRACTION:
        return None
    prune = PruneToMacs(
        fraction=fraction,
        cost=strategy.cost,
        min_channels=strategy.macs_control,
        round_to=strategy.round_to,
        importance=strategy.channel_importance,
    )
    every = proposals.of_role(TrialRole.MACS_CONTROL)
    starts = [index for index, p in enumerate(every) if p.change == prune]
    chain = every[starts[-1] :] if starts else []
    return _next(
        strategy, TrialRole.MACS_CONTROL, len(every), chain, course, completions, first=prune
    )


def _next(
    strategy: Strategy,
    role: TrialRole,
    num_proposed: int,
    chain: Sequence[Proposal],
    course: Course,
    completions: Completions,
    first: Change = Train(),  # noqa: B008  # a frozen value
) -> Proposal | None:
    """Return the next trial of a chain of controls; `first` is the change of its first one."""
    trained = [control for control in chain if not isinstance(control.change, Finish)]
    change = _change(chain, trained, course, first)
    if change is None:
        return None
    if trained:
        last = completions.find(trained[-1].name)
        if last is None or last.outcome is not Outcome.SUCCEEDED:
            return None
    number = num_proposed + 1
    return Proposal(
        role=role,
        number=number,
        parent=trained[-1].name if trained else BASE_NAME,
        change=change,
        teacher=None,
        seed=strategy.generator(trial_name(role, number)).getrandbits(31),
        completed_before=len(completions),
    )


def _change(
    chain: Sequence[Proposal], trained: Sequence[Proposal], course: Course, first: Change
) -> Change | None:
    """Return what the next control does; None if the chain is complete."""
    if len(trained) < course.trials:
        return Train() if trained else first
    finished = {control.parent for control in chain if isinstance(control.change, Finish)}
    return Finish() if course.finishes and trained[-1].name not in finished else None


def _fraction(best: Completion, completions: Completions) -> float | None:
    """Return the cost of the best over that of the base, at the last resolution that both were
    evaluated at; None if there is none."""
    base = completions.find(BASE_NAME)
    costs = {} if base is None else {point.resolution: point.cost for point in base.points}
    shared = [point for point in best.points if point.resolution in costs]
    return shared[-1].cost / costs[shared[-1].resolution] if shared else None
