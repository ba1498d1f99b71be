"""Joint-DetNAS: hill climbing over (student, teacher) pairs.

Joint-DetNAS Algorithm 1, sections 3.1.4 and A.1.4; decisions in docs/papers.md 1.2. Several trials
may be in flight: all share one top-k list (the paper's parallel form).
"""

import random
from dataclasses import dataclass

from searchd.search.completions import Completions
from searchd.search.history import Completion
from searchd.search.proposals import Proposals
from searchd.search.rungs import Rungs
from searchd.search.sampling import rank_sample
from searchd.search.strategies.base import converged, option, spent
from searchd.search.strategies.pair_steps import PairSettings, PairSteps


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDetNasSettings(PairSettings):
    """The settings of Joint-DetNAS."""

    top_k: int = option(
        5,
        "Number of best pairs from which the parent of a trial is drawn; better ones are likelier.",
        ge=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDetNas(PairSteps):
    """The parent is one of the best pairs; better ones are likelier."""

    settings: JointDetNasSettings = JointDetNasSettings()
    patience: int = 20
    """The number of trials in a row without a better score that end the search."""
    abandon: bool = False
    """Whether a trial that is hopeless after its first epoch is stopped early."""
    rungs: Rungs | None = None
    """Rungs at which trials that are not among the best are stopped early. None: there are none."""

    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        return spent(self.max_trials, proposals) or converged(self.patience, completions)

    def parent(self, completions: Completions, rng: random.Random) -> Completion | None:
        top = completions.ranking[: self.settings.top_k]
        return rank_sample(top, rng) if top else None
