"""Prune, then distil: the pipelined baseline that joint search is compared with.

Joint-DetNAS Table 5, docs/papers.md 1.10: the base, trained with BN-L1, is pruned to a target
complexity at once, and the student is distilled as long as the paper's students are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.trial import (
    BASE_NAME,
    Change,
    Outcome,
    Proposal,
    PruneToMacs,
    Train,
    TrialRole,
    trial_name,
)
from searchd.search.history import Completion, Wait, completion_of, search_trials
from searchd.search.strategies.base import PoolStrategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(PoolStrategy):
    """A chain of `max_trials` trials under the largest subnet, each going on with the student of
    the one before; the first prunes."""

    prune: PruneToMacs

    def stop_reason(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> str | None:
        earlier = search_trials(proposals)
        if len(earlier) == self.max_trials:
            return f"pipeline: {self.max_trials} trials"
        last = completion_of(earlier[-1].name, completions) if earlier else None
        if last is not None and last.outcome is not Outcome.SUCCEEDED:
            return f"pipeline: trial {last.proposal.name} ended as {last.outcome}"
        return None

    def propose(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> Proposal | Wait:
        earlier = search_trials(proposals)
        parent = BASE_NAME
        change: Change = self.prune
        if earlier:
            parent, change = earlier[-1].name, Train()
            if completion_of(parent, completions) is None:
                return Wait(f"trial {parent} is running, and the next one goes on from it")
        name = trial_name(TrialRole.SEARCH, len(earlier))
        return Proposal(
            role=TrialRole.SEARCH,
            number=len(earlier),
            parent=parent,
            change=change,
            teacher=self.space.largest,
            seed=self.generator(name).getrandbits(31),
            completed_before=len(completions),
        )
