"""A search: a base detector, a data set, a pool of teachers, a budget."""

from pathlib import Path
from typing import Self

from pydantic import Field, JsonValue, model_validator

from searchd.domain.architecture import Architecture, BlockKind, preset
from searchd.domain.encoding import parse
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_fit import Traits, check_fit, traits
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import SubnetSpace
from searchd.domain.trial import TeacherPolicy
from searchd.search.stopping_criteria import Limits, Target
from searchd.search.strategies.pair_steps import PairSettings
from searchd.spec.base import Name, ResolutionText, Spec
from searchd.spec.pool import PoolSpec
from searchd.spec.strategies import (
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    StrategySpec,
)
from searchd.spec.training import (
    HeadSpec,
    MethodsSpec,
    ResourcesSpec,
    TrainingSpec,
)


class MmdetSpec(Spec):
    """A detector that mmdet trained."""

    config: str = Field(min_length=1)
    """Name of a config shipped with mmdet, as "retinanet_r50_fpn_1x_coco"."""
    checkpoint: Path
    """On a disk that every worker can read: mmengine's, a state_dict, or safetensors."""
    options: dict[str, JsonValue] = {}
    """Values of the config's `model` that were replaced, by dotted key: {"backbone.depth": 18}."""


class BaseSpec(Spec):
    """The base detector: where the search starts. Trained from scratch, or loaded."""

    backbone: str | None = "resnet18"
    """A published backbone's name (`searchd.domain.architecture.PRESETS`), or None."""
    encoding: str | None = None
    """Instead of a name: the architecture's text form."""
    mmdet: MmdetSpec | None = None
    """Instead of either: a detector that mmdet trained. It is evaluated as it is, and its head must
    be the search's `head`."""
    block: BlockKind = BlockKind.BASIC
    """Block kind of `encoding`."""
    groups: int = Field(default=1, ge=1)
    """Groups of the 3x3 convolutions of `encoding`, if it is a ResNeXt."""
    base_channels: int | None = Field(default=None, ge=1)
    """Outputs of the stem's first convolution, with which a named backbone scales; None: as
    published, 64 of ResNets and 32 of MobileNetV2."""
    training: TrainingSpec = TrainingSpec(
        epochs=24, learning_rate=0.02, schedule="step", warmup_iterations=500
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.backbone, self.encoding, self.mmdet].count(None) != 2:
            raise ValueError("give exactly one of backbone, encoding and mmdet (backbone: null)")
        _ = self.architecture
        return self

    @property
    def architecture(self) -> Architecture | None:
        """None where only the checkpoint knows."""
        if self.mmdet is not None:
            return None
        if self.encoding is not None:
            return parse(
                self.encoding, self.block, groups=self.groups, stem_channels=self.base_channels
            )
        assert self.backbone is not None  # checked above
        return preset(self.backbone, base_channels=self.base_channels)


class ScoreSpec(Spec):
    """H(S, r) = AP * [(C/C_base) * (R/R_base)^beta]^(-alpha), docs/papers.md 1.3."""

    alpha: float = Field(default=0.4, ge=0)
    beta: float = Field(default=0.8, ge=0)
    base_resolution: ResolutionText = Resolution(1333, 800)
    """R_base, at which C and C_base are counted too."""


class TargetSpec(Spec):
    """A detector that is good enough: it ends the search."""

    ap: float = Field(gt=0, le=1)
    """At least; COCO box AP in [0, 1], at any of the trial's resolutions."""
    macs: float | None = Field(default=None, gt=0)
    """At most, in multiply-accumulates of one image at that resolution; None: whatever they are."""


class BudgetSpec(Spec):
    """When a search ends: no further search trial is begun. Trials in flight end by themselves, and
    controls follow."""

    max_trials: int = Field(default=100, ge=1)
    """Search trials, trial 0 included; base and controls are extra."""
    patience: int = Field(default=20, ge=1)
    """It has converged after this many trials in a row without a better score."""
    max_worker_hours: float | None = Field(default=None, gt=0)
    """Hours that workers have had trials, summed over all attempts at base and search trials."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    """The same hours, times `resources.gpus_per_trial`."""
    max_wall_hours: float | None = Field(default=None, gt=0)
    """Since it was first started, pauses and waiting included: a deadline."""
    target: TargetSpec | None = None


class NoiseSpec(Spec):
    """How far scores differ by chance is measured, so that gains can be judged."""

    seeds: int = Field(default=3, ge=2, le=20)
    """On so many seeds trial 0 is trained; all but the first are extra trials."""


class SearchSpec(Spec):
    """A search: a base detector, a data set, a pool of teachers, a budget."""

    name: Name
    dataset: Name
    pool: Name
    base: BaseSpec = BaseSpec()
    head: HeadSpec = HeadSpec()
    trial: TrainingSpec = TrainingSpec(bn_l1=1e-5)
    distillation: MethodsSpec = MethodsSpec()
    strategy: StrategySpec = JointDetNasSpec()
    score: ScoreSpec = ScoreSpec()
    budget: BudgetSpec = BudgetSpec()
    resources: ResourcesSpec = ResourcesSpec()
    control: bool = True
    """After the search, train the base further without teacher and action for as many trials as
    the best detector's lineage has, so that what training alone gains is known."""
    noise: NoiseSpec | None = None
    """None: the noise is not measured, and no gain is flagged."""
    confirm: bool = False
    """A trial whose score is the best so far is trained again with another seed, and counts with
    the mean of both, before it is accepted; the second trainings are extra trials."""
    abandon: bool = False
    """End a trial that is hopeless after its first epoch, judged by the measured noise."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_abandon()
        if self.noise is not None and isinstance(self.strategy, PoolSearchSpec):
            raise ValueError("noise: a pool_search trains nothing that could differ; leave it out")
        if self.confirm and not isinstance(self.strategy, PairSettings):
            raise ValueError(
                f"confirm: a {self.strategy.kind} does not choose among trained students by their "
                "scores; leave it out, or use joint_detnas or random"
            )
        check_fit(self.distillation.options, traits_of(self.head))
        strategy, allowed = self.strategy, self.budget.max_trials
        if isinstance(strategy, PipelineSpec) and strategy.num_trials > allowed:
            raise ValueError(
                f"strategy.further_trials={strategy.further_trials} makes {strategy.num_trials} "
                f"trials, but budget.max_trials={allowed}"
            )
        if self.budget.max_gpu_hours is not None and self.resources.gpus_per_trial == 0:
            raise ValueError(
                f"budget.max_gpu_hours={self.budget.max_gpu_hours:g} is never spent with "
                "resources.gpus_per_trial=0; give max_worker_hours instead"
            )
        return self

    def _check_abandon(self) -> None:
        if not self.abandon:
            return
        if not isinstance(self.strategy, JointDetNasSpec):
            raise ValueError(
                f"abandon: a {self.strategy.kind} does not go on from the best students, so that "
                "no score is hopeless; leave it out, or use joint_detnas"
            )
        if self.noise is None:
            raise ValueError(
                "abandon: what is hopeless is judged by the measured noise; give noise: {seeds: 3}"
            )
        if self.trial.epochs < 2:
            raise ValueError(
                f"abandon: nothing is left to save after the first of trial.epochs="
                f"{self.trial.epochs}; leave it out"
            )


def check_pool(search: SearchSpec, pool: PoolSpec) -> None:
    """See that a search's methods fit the teachers of a pool, and that it has as many of them as
    one is chosen from.

    Raises:
        InvalidValueError: That is not so; the message names both sides and what would fit.
    """
    teacher = traits_of(pool.head, neck_channels=pool.space.neck_channels)
    check_fit(search.distillation.options, traits_of(search.head), teacher)
    _check_candidates(search.strategy, pool.space.space)


def _check_candidates(strategy: StrategySpec, space: SubnetSpace) -> None:
    if not isinstance(strategy, PairSettings):
        return
    wanted, there = strategy.nearest_candidates, space.num_subnets
    if strategy.teacher_policy is TeacherPolicy.NEAREST and wanted > there:
        raise InvalidValueError(
            f"strategy.nearest_candidates={wanted}, but the pool has {there} subnets: give at "
            f"most {there}, or another teacher_policy than nearest"
        )


def traits_of(head: HeadSpec, neck_channels: tuple[int, ...] | None = None) -> Traits:
    """What methods ask of a detector with this head; its backbone and classes do not matter."""
    return traits(head.detector(preset("resnet18"), num_classes=1), neck_channels=neck_channels)


def limits_of(budget: BudgetSpec, gpus_per_trial: float) -> Limits:
    """Those of a budget."""
    target = budget.target
    return Limits(
        worker_hours=budget.max_worker_hours,
        gpu_hours=budget.max_gpu_hours,
        gpus_per_trial=gpus_per_trial,
        wall_hours=budget.max_wall_hours,
        target=None if target is None else Target(ap=target.ap, macs=target.macs),
    )
