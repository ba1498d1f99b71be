"""The interface of a strategy: its settings, and decisions that are functions of the history."""

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TypeVar

from searchd.domain.actions import ChannelImportance
from searchd.domain.score import Cost
from searchd.domain.subnet import SubnetSpace
from searchd.domain.teacher import RegisteredTeacher, TeacherAp
from searchd.domain.trial import Proposal
from searchd.search.completions import Completions
from searchd.search.history import Wait
from searchd.search.proposals import Proposals
from searchd.search.stopping_criteria import Limits
from searchd.search.teacher_set import TeacherSet

T = TypeVar("T")
ROUND_TO = (
    "A convolution that is pruned keeps a multiple of this number of channels, because devices "
    "compute some multiples faster; one multiple is removed at least. Null: 8 if `score.device` "
    "uses a GPU or 8-bit integers, else 1."
)
"""Help text of the option `round_to` of several strategies."""
CHANNEL_IMPORTANCE = (
    "How channels are ranked for pruning: gamma (|gamma| of the BN after the convolution, as in "
    "the paper), l2 (root mean square of all weights that are removed with the channel) or taylor "
    "(expected change of the detection loss, by one pass over up to 256 training images). The "
    "channels with the smallest values are removed."
)
"""Help text of the option `channel_importance` of several strategies."""


def option(default: T, text: str, **bounds: float) -> T:
    """Declare an option of a strategy's settings as a field of a dataclass.

    The settings are declared here alone: pydantic reads text and bounds where a spec is made of
    them (`searchd.spec.strategies`), so that they are checked when a user submits them and
    described in the API.

    Args:
        default: Value of a spec that does not give the option.
        text: Help text for users.
        bounds: Any of gt, ge, lt and le.
    """
    return field(default=default, metadata={"description": text, **bounds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy(ABC):
    """Everything that the search trials of one strategy depend on.

    The settings that strategies do not share are in `settings` of the class that reads them. The
    base, before the search trials, and finishing trainings and controls, after them, do not depend
    on the strategy.
    """

    seed: int = 0
    max_trials: int = 100
    """The largest number of search trials."""
    limits: Limits = Limits()
    """Stopping criteria of every strategy."""
    control: bool = True
    """Whether controls follow that are trained as long as the best."""
    macs_control: int | None = None
    """The smallest number of channels that a convolution keeps in the controls with the MACs of the
    best. None: there are no such controls."""
    cost: Cost = Cost.MACS
    """What the search counts as cost."""
    round_to: int = 1
    """The multiple of channels that pruning leaves; see `PruneChannels.round_to`."""
    channel_importance: ChannelImportance = ChannelImportance.GAMMA
    """How channels are ranked where a control is pruned."""
    noise_seeds: int = 1
    """The number of seeds on which trial 0 is trained."""
    confirm: bool = False
    """Whether a trial with the best score so far is trained again before it is accepted."""
    finish: int = 0
    """The largest number of detectors that are trained to their end after the last search trial.
    0: the trials are the answer as they are."""

    @abstractmethod
    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        """Return why no further search trial is proposed, or None if one may be."""

    @abstractmethod
    def propose(self, proposals: Proposals, completions: Completions) -> Proposal | Wait:
        """Return the next search trial. The base has succeeded, and there is no reason to stop."""

    def generator(self, name: str) -> random.Random:
        """Return the random generator of a trial. It depends on the seed and the trial's name, and
        not on earlier draws."""
        return random.Random(f"{self.seed}/{name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStrategy(Strategy):
    """A strategy whose detectors are subnets of a pool."""

    space: SubnetSpace
    """The pool's subnets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtStrategy(Strategy):
    """A strategy whose students are taught by subnets of a pool, registered teachers, or both."""

    space: SubnetSpace | None = None
    """The pool's subnets; None without a pool."""
    registered: tuple[RegisteredTeacher, ...] = ()
    """The registered teachers."""
    registered_share: float = 0.5
    """See `TeacherSet.registered_share`."""
    measured: tuple[TeacherAp, ...] | None = None
    """APs of teachers that were known before the first search trial. None: no AP is used, as in
    searches that started before these APs were recorded."""

    @property
    def teachers(self) -> TeacherSet:
        """The teachers to draw from."""
        return TeacherSet(
            space=self.space, registered=self.registered, registered_share=self.registered_share
        )


def spent(max_trials: int, proposals: Proposals) -> str | None:
    """Return the reason to stop once the budget is spent, else None."""
    return f"budget: {max_trials} trials" if len(proposals.searched) >= max_trials else None


def converged(patience: int, completions: Completions) -> str | None:
    """Return the reason to stop once `patience` trials in a row had no better score, else None."""
    if completions.trials_without_gain < patience:
        return None
    return f"converged: {patience} trials in a row without a better score"
