"""The settings of each search strategy."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from searchd.domain.actions import ACTION_KINDS, ActionKind, LayerImportance
from searchd.domain.trial import TeacherPolicy
from searchd.spec.base import Spec


class PairSearchSpec(Spec):
    """The settings that strategies share which edit students by actions and choose teachers by a
    policy."""

    student_frozen_trials: int = Field(default=5, ge=0)
    """Number of trials after trial 0 that do not edit the student. Ignored with
    `teacher_policy: fixed`."""
    student_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability, from 0 to 1, that a trial edits the student instead of the teacher. Ignored with
    `teacher_policy: fixed`."""
    actions: tuple[ActionKind, ...] = ACTION_KINDS
    """Actions that may edit a student: prune_channels, prune_layer, add_layer, rearrange."""
    prune_fraction: float = Field(default=0.05, gt=0, lt=1)
    """Fraction of all prunable channels, between 0 and 1, that prune_channels removes."""
    min_channels: int = Field(default=32, ge=1)
    """Smallest number of channels that prune_channels leaves in a convolution."""
    layer_importance: LayerImportance = LayerImportance.L1_MEAN
    """How prune_layer ranks blocks by their weights: l1_mean (mean of |w|) or l1_sum (sum of |w|).
    The block with the smallest value is removed."""
    teacher_policy: TeacherPolicy = TeacherPolicy.MUTATE
    """How a trial gets its teacher. mutate: a mutation of the parent's teacher. fixed: always the
    largest subnet. random: a random subnet. nearest: the nearest of several random subnets."""
    another_gene_probability: float = Field(default=0.3, ge=0, lt=1)
    """Probability, from 0 to 1, of resampling one more gene when a teacher is mutated."""
    nearest_candidates: int = Field(default=4, ge=2)
    """Number of random subnets among which `teacher_policy: nearest` chooses. Other policies ignore
    it."""


class JointDetNasSpec(PairSearchSpec):
    """Hill climbing over (student, teacher) pairs, Joint-DetNAS Algorithm 1."""

    kind: Literal["joint_detnas"] = "joint_detnas"
    """Selects the strategy joint_detnas."""
    top_k: int = Field(default=5, ge=1)
    """Number of best pairs from which the parent of a trial is drawn; better ones are likelier."""


class RandomSpec(PairSearchSpec):
    """Random search with the actions of joint_detnas: the parent is drawn uniformly from all trials
    that succeeded. It ends with `budget.max_trials`; `patience` is ignored."""

    kind: Literal["random"] = "random"
    """Selects random search as the strategy."""


class PoolSearchSpec(Spec):
    """Hill climbing over the subnets of the pool, which are evaluated without training
    (Joint-DetNAS F, docs/papers.md 1.7). The base is trained as the reference of the score; the
    subnets have the `head` of the pool."""

    kind: Literal["pool_search"] = "pool_search"
    """Selects the search over the pool's subnets as the strategy."""
    top_k: int = Field(default=5, ge=1)
    """Number of best subnets from which a parent is drawn; better ones are likelier."""
    another_gene_probability: float = Field(default=0.3, ge=0, lt=1)
    """Probability, from 0 to 1, of resampling one more gene when a subnet is mutated."""


class PipelineSpec(Spec):
    """Prune, then distil: the channels of the base are pruned to a number of MACs in one step, and
    the student is distilled from the largest subnet of the pool (Joint-DetNAS Table 5,
    docs/papers.md 1.10). Give exactly one of `macs_fraction` and `macs`."""

    kind: Literal["pipeline"] = "pipeline"
    """Selects the strategy that prunes once and then distils."""
    macs_fraction: float | None = Field(default=0.7, gt=0, lt=1)
    """Target of the pruning as a fraction of the MACs of the base, between 0 and 1. Null with
    `macs`."""
    macs: float | None = Field(default=None, gt=0)
    """Target of the pruning in multiply-accumulates of the whole detector at the base resolution of
    the score, instead of `macs_fraction`."""
    min_channels: int = Field(default=32, ge=1)
    """Smallest number of channels that the pruning leaves in a convolution."""
    further_trials: int = Field(default=7, ge=0)
    """Number of trials that distil the student further, after the trial that prunes it. With the
    default and 3 epochs per trial, 24 epochs in all, as in the paper."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.macs_fraction is None) == (self.macs is None):
            raise ValueError("give exactly one of macs_fraction and macs (macs_fraction: null)")
        return self

    @property
    def num_trials(self) -> int:
        """Search trials of the whole pipeline."""
        return 1 + self.further_trials


def _with_kind(value: object) -> object:
    return {"kind": "joint_detnas", **value} if isinstance(value, dict) else value


StrategySpec = Annotated[
    Annotated[
        JointDetNasSpec | RandomSpec | PoolSearchSpec | PipelineSpec,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_with_kind),
]
"""The strategy of a search; joint_detnas if `kind` is not given."""
