"""Joint-DetNAS: hill climbing over (student, teacher) pairs.

Joint-DetNAS Algorithm 1, sections 3.1.4 and A.1.4; decisions in docs/papers.md 1.2. Several trials
may be in flight: all share one top-k list (the paper's parallel form).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.trial import Proposal
from searchd.search.history import Completion, ranking
from searchd.search.sampling import rank_sample
from searchd.search.strategies.base import converged, spent
from searchd.search.strategies.pair_steps import PairRules


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDetNas(PairRules):
    """Goes on from one of the best pairs, the better the likelier."""

    patience: int = 20
    top_k: int = 5
    abandon: bool = False
    """Whether a trial that is hopeless after its first epoch is ended."""

    def stop_reason(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> str | None:
        return spent(self.max_trials, proposals) or converged(self.patience, completions)

    def parent(self, completions: Sequence[Completion], rng: random.Random) -> Completion | None:
        top = ranking(completions)[: self.top_k]
        return rank_sample(top, rng) if top else None
