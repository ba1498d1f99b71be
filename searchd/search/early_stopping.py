"""Early stopping: which trials are abandoned after their first epoch. Pure.

A trial is useful if it joins the top k, from which the search chooses parents. It is hopeless if it
would not join them even if its score rose from the first epoch to the end by the largest rise of
any trial of its kind, plus two standard deviations of the noise. The kind is that of the trial's
change. Kinds are compared separately, since the score of a student that was just pruned rises more
than that of a student with only another teacher.
"""

from collections.abc import Sequence

from searchd.domain.trial import Proposal, TrialRole
from searchd.search.confirmation import judge
from searchd.search.history import Completion, ranking
from searchd.search.noise import SIGNIFICANT, floor_of
from searchd.search.strategies.joint_detnas import JointDetNas

MIN_RISES = 3
"""Number of trials of a kind that must have been trained to their end before a trial of that kind
is abandoned."""


def abandon_below(
    strategy: JointDetNas, proposal: Proposal, completions: Sequence[Completion]
) -> float | None:
    """Return the score after the first epoch below which a trial is abandoned.

    None: the trial is trained to its end in any case. The result depends only on what was known
    when the trial was proposed, so it is the same for every attempt.
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
    assert last is not None  # ranked trials succeeded
    return last - max(rises) - SIGNIFICANT * noise


def _rises(proposal: Proposal, completions: Sequence[Completion]) -> list[float]:
    """Return by how much the scores of search trials with the proposal's kind of change rose from
    the first epoch to the end."""
    return [
        each.score - each.first_epoch_score
        for each in completions
        if each.proposal.role is TrialRole.SEARCH
        and each.proposal.change.kind == proposal.change.kind
        and each.score is not None
        and each.first_epoch_score is not None
    ]
