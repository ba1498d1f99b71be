"""What a strategy is: its settings, and three decisions that are functions of history."""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from searchd.domain.subnet import SubnetSpace
from searchd.domain.trial import Proposal
from searchd.search.history import Completion, Wait, search_trials, trials_without_gain
from searchd.search.stopping_criteria import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy(ABC):
    """All that the search trials of one strategy depend on; `searchd.spec` says what each field
    means. The base before them and the controls after them are not the strategy's."""

    seed: int = 0
    max_trials: int = 100
    limits: Limits = Limits()
    """Whatever the strategy."""
    control: bool = True
    noise_seeds: int = 1
    """On how many seeds trial 0 is trained."""
    confirm: bool = False
    """Whether a would-be best is trained again before it is accepted."""

    @abstractmethod
    def stop_reason(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> str | None:
        """Why no further search trial is proposed, or None if one may be."""

    @abstractmethod
    def propose(
        self, proposals: Sequence[Proposal], completions: Sequence[Completion]
    ) -> Proposal | Wait:
        """The next search trial. The base has succeeded, and there is no reason to stop."""

    def generator(self, name: str) -> random.Random:
        """What the trial of this name draws from, whatever was drawn before."""
        return random.Random(f"{self.seed}/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStrategy(Strategy):
    """Of a strategy that draws subnets from a pool."""

    space: SubnetSpace


def spent(max_trials: int, proposals: Sequence[Proposal]) -> str | None:
    """Reason to stop: the budget is spent."""
    return f"budget: {max_trials} trials" if len(search_trials(proposals)) >= max_trials else None


def converged(patience: int, completions: Sequence[Completion]) -> str | None:
    """Reason to stop: the best score has not changed for long."""
    if trials_without_gain(completions) < patience:
        return None
    return f"converged: {patience} trials in a row without a better score"
