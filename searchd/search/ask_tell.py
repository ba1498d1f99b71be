"""A search as an ask/tell strategy: the base, then what its rules propose, then controls.

Pure: no clock, no database, no hidden state. Every decision is a function of the rules, the
proposals made so far and the completions told so far; proposal n draws from a generator seeded by
(search seed, n). Replaying recorded completions therefore reproduces every proposal, whatever the
timing was. What the search trials are is each strategy's own: `searchd.search.strategies`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import BASE_NAME, Outcome, Proposal, Train, TrialRole, trial_name
from searchd.search.confirmation import judge, next_confirmation
from searchd.search.history import (
    Completion,
    Finished,
    Wait,
    completion_of,
    lineage,
    ranking,
    search_trials,
    trials_in_flight,
)
from searchd.search.noise import next_repetition
from searchd.search.strategies.base import Strategy

__all__ = ["Completion", "Finished", "AskTell", "Wait", "decide", "replay"]


@dataclass(slots=True)
class AskTell:
    """Ask for a proposal, tell how a trial ended. Not thread-safe: one driver owns it."""

    strategy: Strategy
    proposals: list[Proposal] = field(default_factory=list)
    """In the order they were made. Given at construction to go on with an interrupted search."""
    completions: list[Completion] = field(default_factory=list)
    """In the order they were told."""

    def ask(self) -> Proposal | Wait | Finished:
        """The next trial to run, which from now on is in flight."""
        decision = decide(self.strategy, self.proposals, self.completions)
        if isinstance(decision, Proposal):
            self.proposals.append(decision)
        return decision

    def tell(self, completion: Completion) -> None:
        """Take in how a trial ended.

        Raises:
            InvalidValueError: The trial is not in flight, or the sequence number is not the next.
        """
        if completion.sequence != len(self.completions):
            raise InvalidValueError(
                f"completion {completion.sequence} was told out of order; "
                f"expected {len(self.completions)}"
            )
        if completion.proposal not in self.in_flight:
            raise InvalidValueError(f"trial {completion.proposal.name} is not in flight")
        self.completions.append(completion)

    @property
    def in_flight(self) -> list[Proposal]:
        """Proposals that have not completed."""
        return trials_in_flight(self.proposals, self.completions)

    @property
    def has_base(self) -> bool:
        """Whether the base detector is trained and scored."""
        return any(
            c.proposal.role is TrialRole.BASE and c.outcome is Outcome.SUCCEEDED
            for c in self.completions
        )


def decide(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> Proposal | Wait | Finished:
    """What comes next: the base, then search trials with their confirmations, then controls.

    Args:
        rules: The strategy with its settings.
        proposals: All proposals made so far, in order.
        completions: All completions so far, in order of their sequence numbers.
    """
    in_flight = trials_in_flight(proposals, completions)
    if not proposals:
        return _base(strategy)
    base = completion_of(BASE_NAME, completions)
    if base is None:
        return Wait("the base detector is being trained")
    if base.outcome is not Outcome.SUCCEEDED:
        return Finished("the base detector could not be trained", succeeded=False)
    repetition = next_repetition(strategy, proposals, completions)
    if repetition is not None:
        return repetition
    judged = judge(completions, confirm=strategy.confirm)
    confirmation = next_confirmation(strategy, proposals, judged, completed_before=len(completions))
    if confirmation is not None:
        return confirmation
    accepted = judged.accepted
    reason = strategy.stop_reason(proposals, accepted) or strategy.limits.reached(
        completions, accepted
    )
    if reason is None:
        decision = strategy.propose(proposals, accepted)
        if isinstance(decision, Proposal):
            return replace(decision, completed_before=len(completions))
        return decision
    if search_trials(in_flight) or judged.undecided:
        return Wait("the last trials are running")
    best = ranking(accepted)
    if not best:
        return Finished(f"{reason}, but no trial succeeded", succeeded=False)
    length = len(lineage(best[0].proposal.name, proposals)) - 1 if strategy.control else 0
    return _control(strategy, length, proposals, completions) or (
        Wait("the control is being trained") if in_flight else Finished(reason, succeeded=True)
    )


def replay(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> list[Proposal | Wait | Finished]:
    """What the strategy would decide in place of each recorded proposal, given the completions that
    it had seen then. Equal to `proposals` if code and rules are the recording's.

    The budget alone may have grown meanwhile: a search that had ended, with its controls, was given
    more. That its budget of then was spent is seen from the controls.
    """
    return [
        decide(
            _as_then(strategy, proposal, proposals[:index]),
            proposals[:index],
            completions[: proposal.completed_before],
        )
        for index, proposal in enumerate(proposals)
    ]


def _as_then(strategy: Strategy, proposal: Proposal, before: Sequence[Proposal]) -> Strategy:
    """The rules when this was proposed: a control follows when the budget is spent."""
    if not (strategy.control and proposal.role is TrialRole.CONTROL):
        return strategy
    spent = len(search_trials(before))
    return replace(strategy, max_trials=min(spent, strategy.max_trials))


def _base(strategy: Strategy) -> Proposal:
    return Proposal(
        role=TrialRole.BASE,
        number=0,
        parent=None,
        change=Train(),
        teacher=None,
        seed=strategy.generator(BASE_NAME).getrandbits(31),
        completed_before=0,
    )


def _control(
    strategy: Strategy,
    length: int,
    proposals: Sequence[Proposal],
    completions: Sequence[Completion],
) -> Proposal | None:
    """The next control, or None when there is none to propose (now)."""
    done = [p for p in proposals if p.role is TrialRole.CONTROL]
    if len(done) >= length:
        return None
    if done:
        last = completion_of(done[-1].name, completions)
        if last is None or last.outcome is not Outcome.SUCCEEDED:
            return None
    number = len(done) + 1
    return Proposal(
        role=TrialRole.CONTROL,
        number=number,
        parent=done[-1].name if done else BASE_NAME,
        change=Train(),
        teacher=None,
        seed=strategy.generator(trial_name(TrialRole.CONTROL, number)).getrandbits(31),
        completed_before=len(completions),
    )
