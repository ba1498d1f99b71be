"""A search: a base detector, a data set, a pool of teachers, a budget."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from searchd.domain.architecture import Architecture, BlockKind, preset
from searchd.domain.encoding import parse
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_fit import Traits, check_fit, traits
from searchd.domain.score import Cost
from searchd.domain.sinks import SinkKind
from searchd.domain.subnet import SubnetSpace
from searchd.domain.trial import TeacherPolicy
from searchd.search.noise import MAX_SEEDS
from searchd.search.strategies.pair_steps import PairSettings
from searchd.spec.base import Name, Spec
from searchd.spec.budget import BudgetSpec
from searchd.spec.method_search import SearchMethods, SearchMethodsSpec, check_method_search
from searchd.spec.pool import PoolSpec
from searchd.spec.pretrained import PretrainedSpec
from searchd.spec.rungs import RungsSpec, check_rungs
from searchd.spec.score import ScoreSpec
from searchd.spec.search_teachers import PoolExtensionSpec, TeachersSpec, check_strategy
from searchd.spec.strategies import (
    JointDetNasSpec,
    PipelineSpec,
    PoolSearchSpec,
    StrategySpec,
)
from searchd.spec.training import (
    MMDET_BATCH_SIZE,
    HeadSpec,
    Priority,
    ResourcesSpec,
    TrainingSpec,
    check_precision,
)


class MmdetSpec(Spec):
    """A detector that mmdet trained."""

    config: str = Field(min_length=1)
    """Name of a config that mmdet ships, for example "retinanet_r50_fpn_1x_coco"."""
    checkpoint: Path
    """Path of the checkpoint, on a disk that every worker can read: a checkpoint of mmengine, mmdet
    2.x or another training loop, a state_dict, or safetensors."""
    options: dict[str, JsonValue] = {}
    """Values that replace those of the config's `model`, by dotted key, for example
    {"backbone.depth": 18}."""


class BaseSpec(Spec):
    """The base detector, where a search starts: trained from scratch, trained from a pretrained
    backbone, or loaded. Give exactly one of `backbone`, `encoding`, `mmdet` and `export`."""

    backbone: str | None = None
    """Name of a published backbone (`searchd.domain.architecture.PRESETS`), for example resnet18,
    resnet50 or mobilenet_v2; resnet18 if none of `backbone`, `encoding`, `mmdet` and `export` is
    given."""
    encoding: str | None = None
    """Architecture of the backbone in the papers' text form, instead of a named backbone."""
    mmdet: MmdetSpec | None = None
    """Detector that mmdet trained, instead of a backbone to train. Layers that depend on the
    classes keep the rows of the classes that the data set has too, by name."""
    export: Path | None = None
    """Absolute path of a folder that `searchd search export` or `searchd distillation export`
    wrote, on a disk that every worker can read, instead of a backbone to train. Its classes are
    treated as those of `mmdet`."""
    fine_tune: bool | None = None
    """Whether a detector of `mmdet` or `export` is trained by `training` before it is evaluated.
    Null: only if its classes are not those of the data set, in the same order."""
    pretrained: PretrainedSpec | None = None
    """Backbone trained on ImageNet, with which the training of `backbone` or `encoding` starts.
    Null: random weights."""
    block: BlockKind = BlockKind.BASIC
    """Kind of the blocks of `encoding`: basic, bottleneck or inverted_residual."""
    groups: int = Field(default=1, ge=1)
    """Number of groups of the 3x3 convolutions of `encoding`; more than 1 for a ResNeXt."""
    base_channels: int | None = Field(default=None, ge=1)
    """Number of output channels of the first convolution; the widths of a named backbone scale with
    it. Null uses the published number: 64 for ResNets and 32 for MobileNetV2."""
    training: TrainingSpec = TrainingSpec(
        epochs=24,
        learning_rate=0.02,
        base_batch_size=MMDET_BATCH_SIZE,
        schedule="step",
        warmup_iterations=500,
    )
    """How the base detector is trained. Ignored if it is loaded and not fine-tuned."""
    licence: Annotated[
        str | None, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)
    ] = None
    """Licence of the weights that the base starts from, in any words; best is an SPDX id such as
    Apache-2.0, which programs understand. Detectors and exports that descend from the base name it
    on their model cards. Null: unknown."""

    @model_validator(mode="before")
    @classmethod
    def _default_backbone(cls, data: object) -> object:
        """Fill in the backbone where no detector is named."""
        sources = ("backbone", "encoding", "mmdet", "export")
        if isinstance(data, dict) and not any(source in data for source in sources):
            return {**data, "backbone": "resnet18"}
        return data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.backbone, self.encoding, self.mmdet, self.export].count(None) != 3:
            raise ValueError("give exactly one of backbone, encoding, mmdet and export")
        if self.export is not None and not self.export.is_absolute():
            raise ValueError(f"export={str(self.export)!r} must be an absolute path")
        if self.is_loaded and self.pretrained is not None:
            raise ValueError("pretrained: a loaded detector has its own backbone; leave it out")
        if not self.is_loaded and self.fine_tune is not None:
            raise ValueError(
                "fine_tune belongs to mmdet or export; another base is always trained: leave it out"
            )
        _ = self.architecture
        return self

    @property
    def is_loaded(self) -> bool:
        """Whether the base is a trained detector."""
        return self.mmdet is not None or self.export is not None

    @property
    def architecture(self) -> Architecture | None:
        """The architecture of the backbone; None for a loaded detector, whose file has it."""
        if self.is_loaded:
            return None
        if self.encoding is not None:
            return parse(
                self.encoding, self.block, groups=self.groups, stem_channels=self.base_channels
            )
        assert self.backbone is not None  # checked above
        return preset(self.backbone, base_channels=self.base_channels)


class NoiseSpec(Spec):
    """A measurement of the noise of scores, by which gains are judged."""

    seeds: int = Field(default=3, ge=2, le=MAX_SEEDS)
    """Number of seeds with which trial 0 is trained; every seed after the first is an extra
    trial."""


class ControlSpec(Spec):
    """The controls that are trained at the end of the search, as long as the best detector."""

    equal_length: bool = True
    """Whether the base is trained further, without teacher and action, and finished if the best
    detector is. It shows what training alone gains."""
    equal_macs: bool = False
    """Whether the base is pruned at once to the multiply-accumulates of the best detector (or to
    what `score.cost` counts instead) and trained as long, without teacher. It shows what pruning
    and training alone gain. It takes as many trials as `equal_length`, and is left out if the best
    has at least 98 % of those of the base."""


class SearchSpec(Spec):
    """A search: a base detector, a data set, teachers, a budget."""

    name: Name
    """Name of the search; no other search may have it."""
    dataset: Name
    """Name of the data set that students are trained and evaluated on."""
    pool: Name | None = None
    """Name of the pool whose subnets are teachers. Null if no teacher is a subnet."""
    teachers: TeachersSpec | None = None
    """Registered teachers, beside the subnets of the pool or instead of them. Null: the subnets of
    `pool` are the only teachers."""
    extend_pool: PoolExtensionSpec | None = None
    """Whether the pool is trained further, as a new pool that the search then uses, if no teacher
    exceeds the base before the first search trial. Null: the search warns, and goes on."""
    base: BaseSpec = BaseSpec()
    """Base detector, from which the search starts and to which scores are relative."""
    head: HeadSpec = HeadSpec()
    """Head of every student; the backbone is searched. With `base.mmdet` or `base.export`, fields
    that are left out follow the loaded detector, and those that are given must equal it."""
    trial: TrainingSpec = TrainingSpec(bn_l1=1e-5)
    """How the student of each trial is trained."""
    distillation: SearchMethods = SearchMethodsSpec()
    """Distillation methods by which the teacher of each trial teaches; `search` searches them with
    the students and the teachers."""
    strategy: StrategySpec = JointDetNasSpec()
    """Search strategy and its settings; `kind` selects it, joint_detnas by default."""
    score: ScoreSpec = ScoreSpec()
    """Exponents and base resolution of the score that ranks detectors."""
    budget: BudgetSpec = BudgetSpec()
    """Stopping criteria: the search trials end as soon as one of them holds; and the finishing of
    the best detectors afterwards."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPUs and GPUs that each trial reserves, and how many trials run at once."""
    control: bool | ControlSpec = True
    """Which controls to train at the end: the base detector without teacher, for as many trials as
    the lineage of the best detector has, and finished like it. They show what training alone gains.
    True: of equal length; false: none; or both kinds by their names."""
    noise: NoiseSpec | None = None
    """Number of seeds for measuring the noise of scores. Null: the noise is not measured, and no
    gain is flagged as being within it."""
    confirm: bool = False
    """Whether a trial with the best score so far is trained again with another seed before it is
    accepted; its score is then the mean of both. Each confirmation is an extra trial."""
    abandon: bool = False
    """Whether to stop a trial after its first epoch if its score is hopeless, judged by the
    measured noise. Needs `noise`."""
    rungs: RungsSpec | None = None
    """Epochs at which a trial is stopped unless it is among the best share of the earlier trials
    with the same kind of change (asynchronous successive halving), for searches of many long
    trials; {} has the usual values. Null: no trial is stopped so."""
    priority: Priority = 0
    """Among the queued searches and distillations of one owner, those with a higher priority start
    first; of equals, the oldest does. Owners take turns whatever their priorities. What runs
    already is not interrupted. From -1000 to 1000."""
    sinks: tuple[SinkKind, ...] | None = None
    """Sinks that record the trials too: tensorboard, mlflow, wandb. Null: those that the operator
    has set for all runs. Where they write is a setting of the service, not of a spec."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw: proposals, initial weights, data order, augmentation."""

    @property
    def controls(self) -> ControlSpec:
        """The controls that are trained."""
        if isinstance(self.control, ControlSpec):
            return self.control
        return ControlSpec(equal_length=self.control)

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._name_pool_once()
        self._check_finish()
        self._check_cost()
        check_strategy(self.strategy, self.pool, self.registered)
        check_method_search(self.distillation, self.strategy, self.num_lines)
        self._check_abandon()
        if self.rungs is not None:
            check_rungs(self.rungs, self.strategy, self.trial.epochs)
        if self.extend_pool is not None and self.pool is None:
            raise ValueError("extend_pool: the search has no pool; leave it out, or name a pool")
        self._check_precision()
        if self.noise is not None and isinstance(self.strategy, PoolSearchSpec):
            raise ValueError("noise: a pool_search trains nothing that could differ; leave it out")
        if self.controls.equal_macs and isinstance(self.strategy, PoolSearchSpec):
            raise ValueError(
                "control.equal_macs: a pool_search trains nothing to compare with; leave it out"
            )
        if self.confirm and not isinstance(self.strategy, PairSettings):
            raise ValueError(
                f"confirm: a {self.strategy.kind} does not choose among trained students by their "
                "scores; leave it out, or use joint_detnas or random"
            )
        if not self.base.is_loaded or "family" in self.head.model_fields_set:
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

    def _check_finish(self) -> None:
        """Switch finishing off where nothing is trained."""
        if not isinstance(self.strategy, PoolSearchSpec) or self.budget.finish is None:
            return
        if "finish" in self.budget.model_fields_set:
            raise ValueError(
                "budget.finish: a pool_search trains nothing that could be finished; give null or "
                "leave it out"
            )
        object.__setattr__(self, "budget", self.budget.model_copy(update={"finish": None}))

    def _check_cost(self) -> None:
        """Check that targets of latency are given only where latency is the cost."""
        target, latency = self.budget.target, self.score.cost is Cost.LATENCY
        pruned_to = self.strategy.latency_ms if isinstance(self.strategy, PipelineSpec) else None
        given = {
            "budget.target.latency_ms": None if target is None else target.latency_ms,
            "strategy.latency_ms": pruned_to,
        }
        for field, value in given.items():
            if value is not None and not latency:
                raise ValueError(
                    f"{field}={value:g} needs a device: give score: {{cost: latency, device: NAME}}"
                )
        macs = isinstance(self.strategy, PipelineSpec) and self.strategy.macs
        if macs and self.score.cost is not Cost.MACS:
            raise ValueError(
                f"strategy.macs={macs:g} is no target of score.cost={self.score.cost}; give "
                "macs_fraction, a fraction of what the search counts"
                + (", or latency_ms" if latency else "")
            )

    def _check_precision(self) -> None:
        for field, training in (("base.training", self.base.training), ("trial", self.trial)):
            gpus, gpus_field = self.resources.gpus_per_trial, "resources.gpus_per_trial"
            check_precision(training, gpus, field=field, gpus_field=gpus_field)

    @property
    def registered(self) -> tuple[str, ...]:
        """The names of the registered teachers."""
        return () if self.teachers is None else self.teachers.registered

    @property
    def num_lines(self) -> int:
        """Number of teachers that have adapters of their own; all subnets of the pool are one."""
        return len(self.registered) + (self.pool is not None)

    def _name_pool_once(self) -> None:
        """Move `teachers.pool` to `pool`, so that a search has one form however it is written."""
        teachers = self.teachers
        if teachers is None:
            return
        if teachers.pool is not None and self.pool not in (None, teachers.pool):
            raise ValueError(
                f"pool={self.pool} and teachers.pool={teachers.pool} differ; give the pool once"
            )
        object.__setattr__(self, "pool", teachers.pool or self.pool)
        alone = teachers.model_copy(update={"pool": None})
        object.__setattr__(self, "teachers", alone if teachers.registered else None)

    def _check_abandon(self) -> None:
        if not self.abandon:
            return
        if not isinstance(self.strategy, JointDetNasSpec):
            raise ValueError(
                f"abandon: a {self.strategy.kind} does not continue from the best students, so "
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
    """Check that the methods of a search fit the teachers of a pool, and that the pool has enough
    subnets for the strategy.

    Raises:
        InvalidValueError: A method does not fit, or the pool is too small; the message says what
            would fit.
    """
    teacher = traits_of(pool.head, neck_channels=pool.space.neck_channels)
    methods, whose = search.distillation.options, f"pool {pool.name!r}"
    check_fit(methods, traits_of(search.head), teacher, whose=whose)
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


def check_teacher(search: SearchSpec, name: str, teacher: Traits | None) -> None:
    """Check that the methods of a search fit a registered teacher.

    Args:
        search: The submitted search.
        name: Name of the teacher.
        teacher: Its traits; None: not known before it was built.

    Raises:
        InvalidValueError: A method does not fit; the message says what would fit.
    """
    methods, whose = search.distillation.options, f"teacher {name!r}"
    check_fit(methods, traits_of(search.head), teacher, whose=whose)


def traits_of(head: HeadSpec, neck_channels: tuple[int, ...] | None = None) -> Traits:
    """The traits by which methods judge a detector with this head; backbone and classes do not
    matter."""
    return traits(head.detector(preset("resnet18"), num_classes=1), neck_channels=neck_channels)
