"""Finishing: chosen detectors of a search are trained to their end; the best of all is the answer.
Pure.

Search trials are short: they rank detectors, and leave them undertrained. After the last search
trial, the chosen ones are therefore trained further, each under its own teacher if that is clearly
better. Finishing trainings are no search trials: no budget counts them, and nothing descends from
them.
"""

from collections.abc import Sequence

from searchd.domain.teacher import Teaching
from searchd.domain.trial import Finish, Outcome, Proposal, TrialRole, trial_name
from searchd.search.completions import Completions, Found
from searchd.search.history import Completion
from searchd.search.pareto import knee
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.pair_steps import PairSteps


def next_finish(
    strategy: Strategy,
    proposals: Proposals,
    accepted: Completions,
    *,
    completed_before: int,
) -> Proposal | None:
    """Return the next finishing training, or None if all chosen trials have one.

    Args:
        strategy: The strategy with its settings.
        proposals: All proposals made so far, in order.
        accepted: The accepted completions of a search that proposes no further search trial.
        completed_before: Number of completions so far.
    """
    earlier = proposals.of_role(TrialRole.FINISH)
    parents = {proposal.parent for proposal in earlier}
    for chosen in to_finish(accepted, strategy.finish):
        if chosen.proposal.name not in parents:
            number = len(earlier) + 1
            return Proposal(
                role=TrialRole.FINISH,
                number=number,
                parent=chosen.proposal.name,
                change=Finish(),
                teacher=_teacher(strategy, chosen),
                seed=strategy.generator(trial_name(TrialRole.FINISH, number)).getrandbits(31),
                completed_before=completed_before,
                methods=chosen.proposal.methods,
            )
    return None


def to_finish(accepted: Completions, most: int) -> list[Completion]:
    """Choose the search trials to finish: the best score, then the knee of the front, then the rest
    of the front.

    The front is that of AP against cost at the largest resolution. Of the rest, the trial whose
    cost is farthest from those chosen comes next, so that the choice spreads over the front. The
    first trials do not depend on `most`: with a larger one, further trials are added.

    Args:
        accepted: The accepted completions of a search.
        most: Largest number of trials.
    """
    chosen = accepted.ranking[:1]
    front = accepted.front_at_largest.points
    if front:
        bend, _ = knee(front, cost=_cost, value=_ap)
        chosen = chosen if bend in chosen else [*chosen, bend]
    taken = [_cost(found) for found in map(_at_largest, chosen) if found is not None]
    rest = [found for found in front if found.completion not in chosen]
    while rest and len(chosen) < most:
        added = max(rest, key=lambda each: _distance(_cost(each), taken))
        chosen.append(added.completion)
        taken.append(_cost(added))
        rest.remove(added)
    return chosen[: max(0, most)]


def answer(accepted: Completions) -> Completion | None:
    """Return the best detector of a search: that of the finishing training with the best score, or
    the search trial with the best score where no finishing training has a better one. None: no
    search trial is accepted.

    Args:
        accepted: The accepted completions of a search.
    """
    finished = accepted.best_finished
    found = [*accepted.ranking[:1], *([] if finished is None else [finished])]
    return max(found, key=lambda each: each.score or 0.0, default=None)


def _teacher(strategy: Strategy, chosen: Completion) -> Teaching | None:
    """Return the teacher of a trial that is finished; None if it has learned what there is."""
    if isinstance(strategy, PairSteps) and strategy.finishes_alone(chosen):
        return None
    return chosen.teacher


def failures(completions: Sequence[Completion]) -> list[str]:
    """Describe the finishing trainings that failed, one sentence each without a full stop."""
    return [
        f"{each.proposal.name} {each.outcome}, so that trial {each.proposal.parent} stays as it is"
        for each in completions
        if each.proposal.role is TrialRole.FINISH and each.outcome is not Outcome.SUCCEEDED
    ]


def _at_largest(completion: Completion) -> Found | None:
    point = max(completion.points, key=lambda each: each.resolution.area, default=None)
    return None if point is None else Found(completion, point)


def _distance(cost: float, taken: Sequence[float]) -> float:
    return min((abs(cost - each) for each in taken), default=0.0)


def _cost(found: Found) -> float:
    return found.point.cost


def _ap(found: Found) -> float:
    return found.point.accuracy
