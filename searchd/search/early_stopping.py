"""Early stopping: which trials are abandoned after their first epoch, and which are stopped at a
rung. Pure.

A trial is useful if it joins the top k, from which the search chooses parents. It is hopeless if it
would not join them even if its score rose from the first epoch to the end by the largest rise of
any trial of its kind, plus two standard deviations of the noise. The kind is that of the trial's
change. Kinds are compared separately, since the score of a student that was just pruned rises more
than that of a student with only another teacher.

At a rung, a trial is compared with earlier ones of its kind at the same epoch, and stopped unless
it is among the best share (`searchd.search.rungs`).

Both decisions depend on what had ended when the trial was proposed, so that they are the same for
every attempt and can be replayed.
"""

from searchd.domain.trial import Proposal, TrialRole
from searchd.search.growing_history import Ended
from searchd.search.noise import SIGNIFICANT, noise_floor
from searchd.search.rungs import Rung, rung
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


def rungs_of(
    strategy: JointDetNas, proposal: Proposal, seen: Ended | None, num_epochs: int
) -> tuple[Rung, ...]:
    """Return the rungs of a trial, in the order of their epochs.

    Empty: the trial is trained to its end in any case.

    Args:
        strategy: The strategy with its settings.
        proposal: The trial.
        seen: What had ended when the trial was proposed; None if it is not in flight, so that
            nothing stops it.
        num_epochs: Epochs of a trial that is trained to its end.
    """
    if strategy.rungs is None or proposal.role is not TrialRole.SEARCH:
        return ()
    known = {} if seen is None else seen.completions.rung_scores
    return tuple(
        rung(epoch, known.get((proposal.change.kind, epoch), ()), strategy.rungs.factor)
        for epoch in strategy.rungs.epochs(num_epochs)
    )
