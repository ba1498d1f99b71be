"""Random search: the steps of Joint-DetNAS without its selection, as a baseline.

Every search trial that succeeded is equally likely to be a parent, whatever its score. So edits add
up over a lineage as in hill climbing, and only the selection by score is missing.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.trial import Proposal
from searchd.search.history import Completion, ranking
from searchd.search.strategies.base import spent
from searchd.search.strategies.pair_steps import PairSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch(PairSteps):
    """The parent is any pair; the search stops only when its budget is spent."""

    def stop_reason(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> str | None:
        del completions  # their scores decide nothing
        return spent(self.max_trials, proposals)

    def parent(self, completions: Sequence[Completion], rng: random.Random) -> Completion | None:
        succeeded = ranking(completions)
        return rng.choice(succeeded) if succeeded else None
