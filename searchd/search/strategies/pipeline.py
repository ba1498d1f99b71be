"""Prune, then distil: the pipeline that is the baseline of joint search.

Joint-DetNAS Table 5, docs/papers.md 1.10: the base, trained with BN-L1, is pruned to a target
complexity in one step, and the student is distilled as long as the paper's students are.
"""

from dataclasses import dataclass

from searchd.domain.actions import ChannelImportance
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
from searchd.search.completions import Completions
from searchd.search.history import Wait
from searchd.search.proposals import Proposals
from searchd.search.strategies.base import CHANNEL_IMPORTANCE, ROUND_TO, TaughtStrategy, option


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """The settings of the pipeline. Exactly one of `macs_fraction`, `macs` and `latency_ms` is
    given."""

    macs_fraction: float | None = option(
        0.7,
        "Target of the pruning as a fraction, between 0 and 1, of the MACs of the base, or of what "
        "`score.cost` counts instead. Null with `macs` or `latency_ms`.",
        gt=0,
        lt=1,
    )
    macs: float | None = option(
        None,
        "Target of the pruning in multiply-accumulates of the whole detector at the base "
        "resolution of the score, instead of `macs_fraction`.",
        gt=0,
    )
    latency_ms: float | None = option(
        None,
        "Target of the pruning in milliseconds of one batch on `score.device`, at the base "
        "resolution of the score, instead of `macs_fraction`.",
        gt=0,
    )
    min_channels: int = option(
        32, "Smallest number of channels that the pruning leaves in a convolution.", ge=1
    )
    round_to: int | None = option(None, ROUND_TO, ge=1)
    channel_importance: ChannelImportance = option(ChannelImportance.GAMMA, CHANNEL_IMPORTANCE)
    further_trials: int = option(
        7,
        "Number of trials that distil the student further, after the trial that prunes it. With "
        "the default and 3 epochs per trial, 24 epochs in all, as in the paper.",
        ge=0,
    )

    @property
    def num_trials(self) -> int:
        """The number of search trials of the whole pipeline."""
        return 1 + self.further_trials


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(TaughtStrategy):
    """A chain of trials under the first teacher: each inherits the student of the trial before it,
    and the first prunes. `max_trials` is the settings' `num_trials`."""

    settings: PipelineSettings = PipelineSettings()

    def stop_reason(self, proposals: Proposals, completions: Completions) -> str | None:
        earlier = proposals.searched
        if len(earlier) == self.max_trials:
            return f"pipeline: {self.max_trials} trials"
        last = completions.find(earlier[-1].name) if earlier else None
        if last is not None and last.outcome is not Outcome.SUCCEEDED:
            return f"pipeline: trial {last.proposal.name} ended as {last.outcome}"
        return None

    def propose(self, proposals: Proposals, completions: Completions) -> Proposal | Wait:
        earlier = proposals.searched
        parent = BASE_NAME
        change: Change = self.prune
        if earlier:
            parent, change = earlier[-1].name, Train()
            if completions.find(parent) is None:
                return Wait(f"trial {parent} is running, and the next one inherits its student")
        name = trial_name(TrialRole.SEARCH, len(earlier))
        return Proposal(
            role=TrialRole.SEARCH,
            number=len(earlier),
            parent=parent,
            change=change,
            teacher=self.teachers.first,
            seed=self.generator(name).getrandbits(31),
            completed_before=len(completions),
        )

    @property
    def prune(self) -> PruneToMacs:
        """The first trial's change of the student."""
        settings = self.settings
        return PruneToMacs(
            fraction=settings.macs_fraction,
            macs=settings.macs,
            latency_s=None if settings.latency_ms is None else settings.latency_ms / 1000,
            cost=self.cost,
            min_channels=settings.min_channels,
            round_to=self.round_to,
            importance=settings.channel_importance,
        )
