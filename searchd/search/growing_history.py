"""The history of a search as one value: every decision is a function of it. Pure.

It is extended by one proposal or one completion, in O(log n) and in time that depends on the number
of trials in flight. A driver keeps it in memory; `History.of` builds the same value from what the
database has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from searchd.domain.errors import InvalidValueError
from searchd.domain.trial import BASE_NAME, Outcome, Proposal
from searchd.search.completions import Completions
from searchd.search.confirmation import Judged, Judgement
from searchd.search.history import Completion
from searchd.search.proposals import Proposals


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The trials that have ended, as they were measured and as they were accepted."""

    confirm: bool
    """Whether candidate incumbents need a confirmation. If not, everything is accepted."""
    completions: Completions = field(default_factory=Completions)
    """All completions, in order."""
    accepted: Completions = field(default_factory=Completions)
    """What strategies see; see `searchd.search.confirmation`."""
    judgement: Judgement = field(default_factory=Judgement)
    """Which candidate incumbents are undecided."""

    def after(self, completion: Completion) -> "Ended":
        """Return what has ended after one more completion."""
        completions = self.completions.after(completion)
        if not self.confirm:
            return replace(self, completions=completions, accepted=completions)
        judgement, result = self.judgement.after(completion)
        accepted = self.accepted if result is None else self.accepted.after(result)
        return replace(self, completions=completions, accepted=accepted, judgement=judgement)

    @property
    def judged(self) -> Judged:
        """The same as `judge` returns of all completions."""
        return Judged(
            accepted=self.accepted,
            undecided=self.judgement.undecided,
            verdicts=self.judgement.verdicts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A trial that was proposed and has not ended."""

    proposal: Proposal
    seen: Ended
    """What had ended when it was proposed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything that a search has proposed, and everything that has ended."""

    ended: Ended
    proposals: Proposals = field(default_factory=Proposals)
    in_flight: tuple[InFlight, ...] = ()
    """The trials that have not ended, in the order in which they were proposed."""

    @classmethod
    def of(
        cls, proposals: Sequence[Proposal], completions: Sequence[Completion], *, confirm: bool
    ) -> "History":
        """Return the history of recorded proposals and completions, in O(n log n).

        Raises:
            InvalidValueError: See `after`.
        """
        history = cls(ended=Ended(confirm=confirm))
        for proposal in proposals:
            history = history.until(proposal.completed_before, completions)
            history = history.proposing(proposal)
        return history.until(len(completions), completions)

    @property
    def completions(self) -> Completions:
        """All completions, in order."""
        return self.ended.completions

    @property
    def accepted(self) -> Completions:
        """The completions that strategies see."""
        return self.ended.accepted

    @property
    def has_base(self) -> bool:
        """Whether the base detector has been trained and scored."""
        base = self.completions.find(BASE_NAME)
        return base is not None and base.outcome is Outcome.SUCCEEDED

    def proposing(self, proposal: Proposal) -> "History":
        """Return the history after one more proposal, which is in flight from then on."""
        trial = InFlight(proposal=proposal, seen=self.ended)
        return replace(
            self,
            proposals=self.proposals.after(proposal),
            in_flight=(*self.in_flight, trial),
        )

    def after(self, completion: Completion) -> "History":
        """Return the history after the completion of a trial.

        Raises:
            InvalidValueError: The trial is not in flight, or the sequence number is not the next
                one.
        """
        if completion.sequence != len(self.completions):
            raise InvalidValueError(
                f"completion {completion.sequence} was reported out of order; "
                f"expected {len(self.completions)}"
            )
        name = completion.proposal.name
        left = tuple(each for each in self.in_flight if each.proposal.name != name)
        if len(left) == len(self.in_flight):
            raise InvalidValueError(f"trial {name} is not in flight")
        return replace(self, ended=self.ended.after(completion), in_flight=left)

    def until(self, num: int, completions: Sequence[Completion]) -> "History":
        """Return the history with the first `num` completions, of which it has a beginning."""
        history = self
        for completion in completions[len(self.completions) : num]:
            history = history.after(completion)
        return history

    def seen_by(self, name: str) -> Ended | None:
        """Return what had ended when a trial in flight was proposed; None if it is not in
        flight."""
        found = (each.seen for each in self.in_flight if each.proposal.name == name)
        return next(found, None)
