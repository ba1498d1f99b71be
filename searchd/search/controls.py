"""Controls: what a search is compared with, trained after its last search trial. Pure.

Each control continues the one before, so that the last one was trained as long as the best.
"""

from collections.abc import Sequence

from searchd.domain.trial import (
    BASE_NAME,
    Change,
    Outcome,
    Proposal,
    PruneToMacs,
    Train,
    TrialRole,
    trial_name,
)
from searchd.search.history import Completion, completion_of
from searchd.search.strategies.base import Strategy

LARGEST_FRACTION = 0.98
"""Share of the base's MACs above which the best has no control of equal MACs: that pruning reaches
a target to within 2 %, so that the control of equal length has about these MACs."""


def next_control(
    strategy: Strategy,
    length: int,
    proposals: Sequence[Proposal],
    completions: Sequence[Completion],
) -> Proposal | None:
    """Return the next control of equal length, which trains the base further without teacher.

    Args:
        strategy: The strategy with its settings.
        length: Number of trials from the base to the best.
        proposals: All proposals made so far, in order.
        completions: All completions so far.

    Returns:
        None if there are `length` controls, if the last one has not succeeded, or if the strategy
        has none.
    """
    if not strategy.control:
        return None
    chain = [p for p in proposals if p.role is TrialRole.CONTROL]
    return _next(strategy, TrialRole.CONTROL, len(chain), chain, length, completions)


def next_macs_control(
    strategy: Strategy,
    best: Completion,
    length: int,
    proposals: Sequence[Proposal],
    completions: Sequence[Completion],
) -> Proposal | None:
    """Return the next control of equal MACs: the first prunes the base, the others train it on.

    A search that was extended may have a new best with other MACs, for which the base is pruned
    anew.

    Args:
        strategy: The strategy with its settings.
        best: The best search trial.
        length: As for `next_control`.
        proposals: As for `next_control`.
        completions: As for `next_control`.

    Returns:
        None as for `next_control`, and if the best has about as many MACs as the base, or more.
    """
    fraction = _fraction(best, completions)
    if strategy.macs_control is None or fraction is None or fraction > LARGEST_FRACTION:
        return None
    prune = PruneToMacs(fraction=fraction, min_channels=strategy.macs_control)
    every = [p for p in proposals if p.role is TrialRole.MACS_CONTROL]
    starts = [index for index, p in enumerate(every) if p.change == prune]
    chain = every[starts[-1] :] if starts else []
    return _next(
        strategy, TrialRole.MACS_CONTROL, len(every), chain, length, completions, first=prune
    )


def _next(
    strategy: Strategy,
    role: TrialRole,
    num_proposed: int,
    chain: Sequence[Proposal],
    length: int,
    completions: Sequence[Completion],
    first: Change = Train(),  # noqa: B008  # a frozen value
) -> Proposal | None:
    """Return the next trial of a chain of controls; `first` is the change of its first one."""
    if len(chain) >= length:
        return None
    if chain:
        last = completion_of(chain[-1].name, completions)
        if last is None or last.outcome is not Outcome.SUCCEEDED:
            return None
    number = num_proposed + 1
    return Proposal(
        role=role,
        number=number,
        parent=chain[-1].name if chain else BASE_NAME,
        change=Train() if chain else first,
        teacher=None,
        seed=strategy.generator(trial_name(role, number)).getrandbits(31),
        completed_before=len(completions),
    )


def _fraction(best: Completion, completions: Sequence[Completion]) -> float | None:
    """Return the MACs of the best over those of the base, at the last resolution that both were
    evaluated at; None if there is none."""
    base = completion_of(BASE_NAME, completions)
    macs = {} if base is None else {point.resolution: point.macs for point in base.points}
    shared = [point for point in best.points if point.resolution in macs]
    return shared[-1].macs / macs[shared[-1].resolution] if shared else None
