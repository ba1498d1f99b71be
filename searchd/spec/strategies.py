"""What a search tries, and in which order: one model per strategy."""

from math import perm
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from searchd.domain.actions import ACTION_KINDS, ActionKind, LayerImportance
from searchd.domain.progression import STUDENT_NAME, Baseline, sampled_names
from searchd.domain.subnet import Subnet
from searchd.domain.teacher_order import OrderAlgorithm
from searchd.domain.trial import TeacherPolicy
from searchd.spec.values import Name, Spec


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
    (Joint-DetNAS F, papers.md 1.7). The base is trained as the score's reference; the subnets have
    the pool's `head`."""

    kind: Literal["pool_search"] = "pool_search"
    top_k: int = Field(default=5, ge=1)
    another_gene_probability: float = Field(default=0.3, ge=0, lt=1)
    """Of resampling one more gene in a mutation."""


class PipelineSpec(Spec):
    """Prune, then distil: the base's channels are pruned to a MACs target at once, and the student
    is distilled from the pool's largest subnet (Joint-DetNAS Table 5, papers.md 1.10)."""

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


class ProgressiveSpec(Spec):
    """Progressive distillation: the base is taught by a sequence of teachers, one after another
    (MTPD 3.2 and 4.1, papers.md 2). Each stage is a trial of `trial.epochs` that goes on from the
    student of the one before, with the learning rate from its start and, for another teacher, new
    adapters."""

    kind: Literal["progressive"] = "progressive"
    teachers: dict[Name, Subnet] = {}
    """Subnets of the pool, by the names that the order uses. Or:"""
    num_sampled_teachers: int | None = Field(default=None, ge=1)
    """The pool's "largest" and "smallest" subnets, then random ones, "sampled-1" and so on."""
    order: OrderAlgorithm | tuple[Name, ...] = OrderAlgorithm.BACKWARD_GREEDY
    """How the order is chosen, by adaptation costs and the teachers' APs; or the order itself, for
    which nothing is measured."""
    max_teachers: int = Field(default=2, ge=1)
    """Longest order."""
    normalize: Literal["none", "target_var"] = "none"
    """Unit of the adaptation costs; see `detection.adaptation_cost.Normalisation`."""
    study: bool = False
    """Whether every ordered subset of up to `max_teachers` is trained, and the order is ranked
    among them (MTPD 4.1). Sequences that begin alike share their first stages."""
    baselines: tuple[Baseline, ...] = ()
    """What else is trained, for as many stages as the order has. `control` is not read."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.teachers) == (self.num_sampled_teachers is not None):
            raise ValueError("give exactly one of teachers and num_sampled_teachers")
        if len(set(self.teachers.values())) < len(self.teachers):
            raise ValueError(f"two of the teachers {', '.join(self.teachers)} have equal genes")
        if STUDENT_NAME in self.teachers:
            raise ValueError(f"no teacher may be called {STUDENT_NAME}: the costs name it so")
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines name one twice: {', '.join(self.baselines)}")
        self._check_order()
        return self

    def _check_order(self) -> None:
        order, known = self.order, self.teacher_names
        if isinstance(order, OrderAlgorithm):
            return
        unknown = [name for name in order if name not in known]
        if unknown or not order or len(set(order)) < len(order):
            raise ValueError(
                f"order={list(order)} must name at least one teacher, each once, of "
                f"{', '.join(known)}"
            )
        if len(order) > self.max_teachers:
            raise ValueError(
                f"order names {len(order)} teachers, but max_teachers={self.max_teachers}"
            )

    @property
    def teacher_names(self) -> list[str]:
        """What the teachers are called."""
        if self.num_sampled_teachers is None:
            return list(self.teachers)
        return sampled_names(self.num_sampled_teachers)

    @property
    def most_stages(self) -> int:
        """As many stages as there can be; an algorithm may choose a shorter order."""
        num = len(self.teacher_names)
        longest = min(self.max_teachers, num)
        if not isinstance(self.order, OrderAlgorithm):
            longest = len(self.order)
        orders = longest
        if self.study:
            sizes = range(1, min(self.max_teachers, num) + 1)
            orders = sum(perm(num, size) for size in sizes)
        # The first stage of the direct baseline may be one of the orders'.
        return orders + longest * len(self.baselines)


def _with_kind(value: object) -> object:
    return {"kind": "joint_detnas", **value} if isinstance(value, dict) else value


StrategySpec = Annotated[
    Annotated[
        JointDetNasSpec | RandomSpec | PoolSearchSpec | PipelineSpec | ProgressiveSpec,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_with_kind),
]
"""How a search decides what is tried next; joint_detnas unless `kind` says otherwise."""
