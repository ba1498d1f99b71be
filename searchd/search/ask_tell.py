"""A search as an ask/tell loop: the base, then the strategy's search trials, then the finishing of
chosen ones, then controls.

Pure: no clock, no database, no hidden state. Every decision is a function of the strategy, the
proposals made so far and the completions reported so far. Proposal n draws from a generator that is
seeded by (search seed, n). Replaying recorded completions therefore reproduces every proposal,
independently of timing. `searchd.search.strategies` defines how search trials are proposed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import BASE_NAME, Outcome, Proposal, Train, TrialRole
from searchd.search.confirmation import judge, next_confirmation
from searchd.search.controls import Course, next_control, next_macs_control
from searchd.search.finishing import answer, failures, next_finish
from searchd.search.history import (
    Completion,
    Finished,
    Wait,
    completion_of,
    search_trials,
    trials_in_flight,
)
from searchd.search.noise import next_repetition
from searchd.search.strategies.base import Strategy

__all__ = ["Completion", "Finished", "AskTell", "Wait", "decide", "replay"]


@dataclass(slots=True)
class AskTell:
    """The ask/tell interface of a search. Not thread-safe: one driver owns it."""

    strategy: Strategy
    """The strategy with its settings."""
    proposals: list[Proposal] = field(default_factory=list)
    """Proposals in the order they were made. Pass those of an interrupted search to resume it."""
    completions: list[Completion] = field(default_factory=list)
    """Completions in the order they were reported. Pass those of an interrupted search to resume
    it."""

    def ask(self) -> Proposal | Wait | Finished:
        """Return the next decision. A returned proposal is in flight from now on."""
        decision = decide(self.strategy, self.proposals, self.completions)
        if isinstance(decision, Proposal):
            self.proposals.append(decision)
        return decision

    def tell(self, completion: Completion) -> None:
        """Add the completion of a trial.

        Raises:
            InvalidValueError: The trial is not in flight, or the sequence number is not the next
                one.
        """
        if completion.sequence != len(self.completions):
            raise InvalidValueError(
                f"completion {completion.sequence} was reported out of order; "
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
        """Whether the base detector has been trained and scored."""
        return any(
            c.proposal.role is TrialRole.BASE and c.outcome is Outcome.SUCCEEDED
            for c in self.completions
        )


def decide(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> Proposal | Wait | Finished:
    """Return the next step: the base, then search trials and their confirmations, then finishing
    trainings, then controls.

    Args:
        strategy: The strategy with its settings.
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
    return _after_search(strategy, proposals, completions, accepted, reason)


def _after_search(
    strategy: Strategy,
    proposals: Sequence[Proposal],
    completions: Sequence[Completion],
    accepted: Sequence[Completion],
    reason: str,
) -> Proposal | Wait | Finished:
    """Return the next step of a search that proposes no further search trial, for this reason:
    finishing trainings side by side, then controls that are trained as long as the best."""
    best = answer(accepted)
    if best is None:
        return Finished(f"{reason}, but no trial succeeded", succeeded=False)
    finish = next_finish(strategy, proposals, accepted, completed_before=len(completions))
    if finish is not None:
        return finish
    in_flight = trials_in_flight(proposals, completions)
    if any(proposal.role is TrialRole.FINISH for proposal in in_flight):
        return Wait("the chosen detectors are being finished")
    course = Course.of(best.proposal, proposals)
    control = next_control(strategy, course, proposals, completions) or next_macs_control(
        strategy, best, course, proposals, completions
    )
    if control is not None:
        return control
    if in_flight:
        return Wait("the control is being trained")
    return Finished("; ".join([reason, *failures(completions)]), succeeded=True)


def replay(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> list[Proposal | Wait | Finished]:
    """Return what the strategy decides in place of each recorded proposal, given the completions
    that it had seen then. The result equals `proposals` if code and settings have not changed.

    Only the budget may have grown since: a user can extend a search that has ended, finished its
    detectors and trained its controls. A recorded finishing training shows that the budget of that
    time was spent, and a recorded control that all chosen detectors had been finished.
    """
    return [
        decide(
            _with_budget_at(strategy, proposal, proposals[:index]),
            proposals[:index],
            completions[: proposal.completed_before],
        )
        for index, proposal in enumerate(proposals)
    ]


def _with_budget_at(strategy: Strategy, proposal: Proposal, before: Sequence[Proposal]) -> Strategy:
    """Return the strategy with the budget that it had when `proposal` was made: where that comes
    after the search trials, the budget was the number of search trials `before` it."""
    is_control = (strategy.control and proposal.role is TrialRole.CONTROL) or (
        strategy.macs_control is not None and proposal.role is TrialRole.MACS_CONTROL
    )
    if not is_control and proposal.role is not TrialRole.FINISH:
        return strategy
    spent = len(search_trials(before))
    return replace(
        strategy,
        max_trials=min(spent, strategy.max_trials),
        # Which detector is next does not depend on how many are finished.
        finish=0 if is_control else spent,
    )


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
