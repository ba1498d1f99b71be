"""A search as an ask/tell loop: the base, then the strategy's search trials, then the finishing of
chosen ones, then controls.

Pure: no clock, no database, no hidden state. Every decision is a function of the strategy, the
proposals made so far and the completions reported so far. Proposal n draws from a generator that is
seeded by (search seed, n). Replaying recorded completions therefore reproduces every proposal,
independently of timing. `searchd.search.strategies` defines how search trials are proposed.
"""

from collections.abc import Sequence
from dataclasses import replace

from searchd.domain.trial import BASE_NAME, Outcome, Proposal, Train, TrialRole
from searchd.search.confirmation import next_confirmation
from searchd.search.controls import Course, next_control, next_macs_control
from searchd.search.finishing import answer, failures, next_finish
from searchd.search.growing_history import History
from searchd.search.history import Completion, Finished, Wait
from searchd.search.noise import next_repetition
from searchd.search.strategies.base import Strategy

__all__ = ["Completion", "Finished", "AskTell", "Wait", "decide", "replay"]


class AskTell:
    """The ask/tell interface of a search. Not thread-safe: one driver owns it.

    Args:
        strategy: The strategy with its settings.
        proposals: Proposals of an interrupted search, in the order they were made.
        completions: Completions of an interrupted search, in the order they were reported.

    Attributes:
        strategy: The strategy; its budget may change.
        history: Everything proposed and completed so far.
    """

    def __init__(
        self,
        strategy: Strategy,
        proposals: Sequence[Proposal] = (),
        completions: Sequence[Completion] = (),
    ) -> None:
        self.strategy = strategy
        self.history = History.of(proposals, completions, confirm=strategy.confirm)

    def ask(self) -> Proposal | Wait | Finished:
        """Return the next decision. A returned proposal is in flight from now on."""
        decision = decide(self.strategy, self.history)
        if isinstance(decision, Proposal):
            self.history = self.history.proposing(decision)
        return decision

    def tell(self, completion: Completion) -> None:
        """Add the completion of a trial.

        Raises:
            InvalidValueError: The trial is not in flight, or the sequence number is not the next
                one.
        """
        self.history = self.history.after(completion)

    @property
    def proposals(self) -> list[Proposal]:
        """All proposals, in the order they were made."""
        return list(self.history.proposals)

    @property
    def completions(self) -> list[Completion]:
        """All completions, in the order they were reported."""
        return list(self.history.completions)

    @property
    def in_flight(self) -> list[Proposal]:
        """Proposals that have not completed."""
        return [each.proposal for each in self.history.in_flight]

    @property
    def has_base(self) -> bool:
        """Whether the base detector has been trained and scored."""
        return self.history.has_base


def decide(strategy: Strategy, history: History) -> Proposal | Wait | Finished:
    """Return the next step: the base, then search trials and their confirmations, then finishing
    trainings, then controls.

    Args:
        strategy: The strategy with its settings.
        history: All proposals and completions so far.
    """
    proposals, completions = history.proposals, history.completions
    if not proposals:
        return _base(strategy)
    base = completions.find(BASE_NAME)
    if base is None:
        return Wait("the base detector is being trained")
    if base.outcome is not Outcome.SUCCEEDED:
        return Finished("the base detector could not be trained", succeeded=False)
    undecided = history.ended.judgement.undecided
    repeated = next_repetition(strategy, proposals, completions) or next_confirmation(
        strategy, proposals, undecided, completed_before=len(completions)
    )
    if repeated is not None:
        return repeated
    reason = strategy.stop_reason(proposals, history.accepted) or strategy.limits.reached(
        completions, history.accepted
    )
    if reason is None:
        decision = strategy.propose(proposals, history.accepted)
        if isinstance(decision, Proposal):
            return replace(decision, completed_before=len(completions))
        return decision
    if undecided or _is_in_flight(history, TrialRole.SEARCH):
        return Wait("the last trials are running")
    return _after_search(strategy, history, reason)


def _after_search(strategy: Strategy, history: History, reason: str) -> Proposal | Wait | Finished:
    """Return the next step of a search that proposes no further search trial, for this reason:
    finishing trainings side by side, then controls that are trained as long as the best."""
    proposals, completions = history.proposals, history.completions
    best = answer(history.accepted)
    if best is None:
        return Finished(f"{reason}, but no trial succeeded", succeeded=False)
    finish = next_finish(strategy, proposals, history.accepted, completed_before=len(completions))
    if finish is not None:
        return finish
    if _is_in_flight(history, TrialRole.FINISH):
        return Wait("the chosen detectors are being finished")
    course = Course.of(best.proposal, proposals)
    control = next_control(strategy, course, proposals, completions) or next_macs_control(
        strategy, best, course, proposals, completions
    )
    if control is not None:
        return control
    if history.in_flight:
        return Wait("the control is being trained")
    return Finished("; ".join([reason, *failures(completions)]), succeeded=True)


def _is_in_flight(history: History, role: TrialRole) -> bool:
    return any(each.proposal.role is role for each in history.in_flight)


def replay(
    strategy: Strategy, proposals: Sequence[Proposal], completions: Sequence[Completion]
) -> list[Proposal | Wait | Finished]:
    """Return what the strategy decides in place of each recorded proposal, given the completions
    that it had seen then. The result equals `proposals` if code and settings have not changed.

    Only the budget may have grown since: a user can extend a search that has ended, finished its
    detectors and trained its controls. A recorded finishing training shows that the budget of that
    time was spent, and a recorded control that all chosen detectors had been finished.
    """
    decisions: list[Proposal | Wait | Finished] = []
    history = History.of((), (), confirm=strategy.confirm)
    for proposal in proposals:
        history = history.until(proposal.completed_before, completions)
        then = _with_budget_at(strategy, proposal, history.proposals.searched)
        decisions.append(decide(then, history))
        history = history.proposing(proposal)
    return decisions


def _with_budget_at(
    strategy: Strategy, proposal: Proposal, searched: Sequence[Proposal]
) -> Strategy:
    """Return the strategy with the budget that it had when `proposal` was made: where that comes
    after the search trials, the budget was the number of those that had been `searched`."""
    is_control = (strategy.control and proposal.role is TrialRole.CONTROL) or (
        strategy.macs_control is not None and proposal.role is TrialRole.MACS_CONTROL
    )
    if not is_control and proposal.role is not TrialRole.FINISH:
        return strategy
    spent = len(searched)
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
