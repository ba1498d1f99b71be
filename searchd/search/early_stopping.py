"""Early stopping: which trials are abandoned after their first epoch. Pure.

A trial is useful if it joins the top k, from which the search chooses parents. It is hopeless if it
would not join them even if its score rose from the first epoch to the end by the largest rise of
any trial of its kind, plus two standard deviations of the noise. The kind is that of the trial's
change. Kinds are compared separately, since the score of a student that was just pruned rises more
than that of a student with only another teacher.
"""

from searchd.domain.trial import Proposal, TrialRole
from searchd.search.growing_history import Ended
from searchd.search.noise import SIGNIFICANT, noise_floor
from searchd.search.strategies.joint_detnas import JointDetNas

MIN_RISES = 3
"""Number of trials of a kind that must have been trained to their end before a trial of that kind
is abandoned."""


def abandon_below(strategy: JointDetNas, proposal: Proposal, seen: Ended) -> float | None:
    """Return the score after the first epoch below which a trial is abandoned.

    None: the trial is trained to its end in any case.

    Args:
        strategy: The strategy with its settings.
        proposal: The trial.
        seen: What had ended when the trial was proposed, so that the result is the same for every
            attempt.
    """
    if proposal.role is not TrialRole.SEARCH:
        return None
    top = seen.accepted.ranking[: strategy.settings.top_k]
    rises = seen.completions.rises.get(proposal.change.kind)
    noise = noise_floor(seen.completions.repetition_scores)
    if len(top) < strategy.settings.top_k or rises is None or noise is None:
        return None
    if rises.num < MIN_RISES:
        return None
    last = top[-1].score
    assert last is not None  # ranked trials succeeded
    return last - rises.largest - SIGNIFICANT * noise
