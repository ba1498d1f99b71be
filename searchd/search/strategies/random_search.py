"""Random search: the steps of Joint-DetNAS without its selection, as a baseline.

Every search trial that succeeded is equally likely to be a parent, whatever its score. So edits add
up over a lineage as in hill climbing, and only the selection by score is missing.
"""

import random
from dataclasses import dataclass

from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import spent
from searchd.search.strategies.pair_steps import PairSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomSearch(PairSteps):
    """The parent is any pair; the search stops only when its budget is spent."""

    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        del completions  # their scores decide nothing
        return spent(self.max_trials, proposals)

    def parent(self, completions: Completions, rng: random.Random) -> Completion | None:
        return rng.choice(completions.ranking) if completions.ranking else None
