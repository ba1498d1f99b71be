"""What a search tries, and in which order: one model per strategy."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from searchd.domain.actions import ACTION_KINDS, ActionKind, LayerImportance
from searchd.domain.trial import TeacherPolicy
from searchd.spec.base import Spec


class PairSearchSpec(Spec):
    """What strategies share that change students by actions and teachers by a policy."""

    student_frozen_trials: int = Field(default=5, ge=0)
    """The trials after trial 0 that do not edit the student. Not read with a fixed teacher."""
    student_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability of editing the student instead of the teacher. Not read with a fixed teacher."""
    actions: tuple[ActionKind, ...] = ACTION_KINDS
    prune_fraction: float = Field(default=0.05, gt=0, lt=1)
    min_channels: int = Field(default=32, ge=1)
    layer_importance: LayerImportance = LayerImportance.L1_MEAN
    teacher_policy: TeacherPolicy = TeacherPolicy.MUTATE
    another_gene_probability: float = Field(default=0.3, ge=0, lt=1)
    """Of resampling one more gene in a teacher mutation."""
    nearest_candidates: int = Field(default=4, ge=2)
    """Subnets of which `teacher_policy: nearest` takes the nearest; read with that alone."""


class JointDetNasSpec(PairSearchSpec):
    """Hill climbing over (student, teacher) pairs, Joint-DetNAS Algorithm 1."""

    kind: Literal["joint_detnas"] = "joint_detnas"
    top_k: int = Field(default=5, ge=1)


class RandomSpec(PairSearchSpec):
    """The same actions without selection: a parent is drawn uniformly from all trials that
    succeeded. It ends with `budget.max_trials`; `patience` is not read."""

    kind: Literal["random"] = "random"


class PoolSearchSpec(Spec):
    """Hill climbing over the pool's subnets themselves, which are evaluated and not trained
    (Joint-DetNAS F, docs/papers.md 1.7). The base is trained as the score's reference; the subnets
    have the pool's `head`."""

    kind: Literal["pool_search"] = "pool_search"
    top_k: int = Field(default=5, ge=1)
    another_gene_probability: float = Field(default=0.3, ge=0, lt=1)
    """Of resampling one more gene in a mutation."""


class PipelineSpec(Spec):
    """Prune, then distil: the base's channels are pruned to a MACs target at once, and the student
    is distilled from the pool's largest subnet (Joint-DetNAS Table 5, docs/papers.md 1.10)."""

    kind: Literal["pipeline"] = "pipeline"
    macs_fraction: float | None = Field(default=0.7, gt=0, lt=1)
    """Target as a fraction of the base's MACs, or None."""
    macs: float | None = Field(default=None, gt=0)
    """Instead: the target in multiply-accumulates of the whole detector at the score's base
    resolution."""
    min_channels: int = Field(default=32, ge=1)
    further_trials: int = Field(default=7, ge=0)
    """Trials that distil the student further, after the one that prunes and distils it. With the
    default, 8 trials of 3 epochs are the paper's 24."""

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
"""How a search decides what is tried next; joint_detnas unless `kind` says otherwise."""
