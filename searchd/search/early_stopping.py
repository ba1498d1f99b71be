"""When a trial is hopeless after its first epoch. Pure.

A trial matters if it joins the best that the search goes on from. It is hopeless if it would not
even though it rose by as much as any trial of its kind has, from its first epoch to its end, and
two standard deviations of the noise came to its help. Kinds are compared for themselves, since a
student that was just pruned rises further than one that only got another teacher.
"""

from collections.abc import Sequence

from searchd.domain.trial import Proposal, TrialRole
from searchd.search.confirmation import judge
from searchd.search.history import Completion, ranking
from searchd.search.noise import SIGNIFICANT, floor_of
from searchd.search.strategies.joint_detnas import JointDetNas

MIN_RISES = 3
"""Trials of a kind that must have been trained to their end before one is abandoned."""


def abandon_below(
    strategy: JointDetNas, proposal: Proposal, completions: Sequence[Completion]
) -> float | None:
    """The score after the first epoch below which a trial is hopeless; None if it is trained to its
    end whatever that is.

    A function of what was known when it was proposed, so that every attempt at it has the same.
    """
    if proposal.role is not TrialRole.SEARCH:
        return None
    seen = completions[: proposal.completed_before]
    top = ranking(judge(seen, confirm=strategy.confirm).accepted)[: strategy.settings.top_k]
    rises = _rises(proposal, seen)
    noise = floor_of(seen)
    if len(top) < strategy.settings.top_k or len(rises) < MIN_RISES or noise is None:
        return None
    last = top[-1].score
    assert last is not None  # of successes
    return last - max(rises) - SIGNIFICANT * noise


def _rises(proposal: Proposal, completions: Sequence[Completion]) -> list[float]:
    """By how much search trials of the proposal's kind rose from their first epoch to their end."""
    return [
        each.score - each.first_epoch_score
        for each in completions
        if each.proposal.role is TrialRole.SEARCH
        and each.proposal.change.kind == proposal.change.kind
        and each.score is not None
        and each.first_epoch_score is not None
    ]
