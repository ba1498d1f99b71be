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
from searchd.search.history import Completion, OperatingPoint, ranking
from searchd.search.pareto import knee, pareto_front
from searchd.search.strategies.base import Strategy
from searchd.search.strategies.pair_steps import PairSteps

_Found = tuple[Completion, OperatingPoint]
"""A search trial, and its student at the largest resolution."""


def next_finish(
    strategy: Strategy,
    proposals: Sequence[Proposal],
    accepted: Sequence[Completion],
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
    earlier = [proposal for proposal in proposals if proposal.role is TrialRole.FINISH]
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
            )
    return None


def to_finish(accepted: Sequence[Completion], most: int) -> list[Completion]:
    """Choose the search trials to finish: the best score, then the knee of the front, then the rest
    of the front.

    The front is that of AP against cost at the largest resolution. Of the rest, the trial whose
    cost is farthest from those chosen comes next, so that the choice spreads over the front. The
    first trials do not depend on `most`: with a larger one, further trials are added.

    Args:
        accepted: The accepted completions of a search.
        most: Largest number of trials.
    """
    ranked = ranking(accepted)
    chosen = ranked[:1]
    found = [each for each in map(_at_largest, ranked) if each is not None]
    rest = pareto_front(found, cost=_cost, value=_ap)
    if rest:
        bend, _ = knee(rest, cost=_cost, value=_ap)
        chosen = chosen if bend in chosen else [*chosen, bend]
    while rest := [each for each in rest if each[0] not in chosen]:
        taken = [_cost(each) for each in found if each[0] in chosen]
        chosen.append(max(rest, key=lambda each: _distance(_cost(each), taken))[0])
    return chosen[: max(0, most)]


def answer(accepted: Sequence[Completion]) -> Completion | None:
    """Return the best detector of a search: that of the finishing training with the best score, or
    the search trial with the best score where no finishing training has a better one. None: no
    search trial is accepted.

    Args:
        accepted: The accepted completions of a search.
    """
    found = [*ranking(accepted)[:1], *(each for each in accepted if _is_finished(each))]
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


def _is_finished(completion: Completion) -> bool:
    is_finish = completion.proposal.role is TrialRole.FINISH
    return is_finish and completion.outcome is Outcome.SUCCEEDED


def _at_largest(completion: Completion) -> _Found | None:
    point = max(completion.points, key=lambda each: each.resolution.area, default=None)
    return None if point is None else (completion, point)


def _distance(cost: float, taken: Sequence[float]) -> float:
    return min((abs(cost - each) for each in taken), default=0.0)


def _cost(found: _Found) -> float:
    return found[1].cost


def _ap(found: _Found) -> float:
    return found[1].ap
