"""What a user submits and what a worker is handed, defined once and stored as JSON.

Used by the API, the CLI, the coordinator, the driver and the workers. Unknown fields are refused.
Knows pydantic and `searchd.domain`; never torch, Ray or the database.
"""

from dataclasses import fields
from functools import cache
from math import perm
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    model_validator,
)

from searchd.domain.actions import ACTION_KINDS, Action, ActionKind, LayerImportance
from searchd.domain.architecture import Architecture, BlockKind, preset
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation import (
    CATALOGUE,
    JOINT_DETNAS,
    MethodName,
    Traits,
    check_fit,
    traits,
)
from searchd.domain.encoding import parse
from searchd.domain.pool import PoolProgress, PoolReport
from searchd.domain.progression import (
    STUDENT_NAME,
    Baseline,
    Plan,
    sample_teachers,
    sampled_names,
)
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher_order import OrderAlgorithm
from searchd.domain.trial import (
    Artifact,
    Progress,
    Proposal,
    Report,
    SanityChecks,
    TakeSubnet,
    TeacherPolicy,
    TrialRole,
)

REPORT = TypeAdapter(Report)
CHECKS = TypeAdapter(SanityChecks)
PROGRESS = TypeAdapter(Progress)
POOL_REPORT = TypeAdapter(PoolReport)
POOL_PROGRESS = TypeAdapter(PoolProgress)
PROPOSAL = TypeAdapter(Proposal)
DETECTOR = TypeAdapter(Detector)
ACTION: TypeAdapter[Action] = TypeAdapter(Action)
SUBNET = TypeAdapter(Subnet)
PLAN = TypeAdapter(Plan)


def _read_resolution(value: object) -> object:
    return Resolution.parse(value) if isinstance(value, str) else value


ResolutionText = Annotated[
    Resolution, BeforeValidator(_read_resolution), PlainSerializer(str, return_type=str)
]
"""A resolution that JSON and YAML write as "1333x800"."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""A resource's name: lower-case letters, digits, "-" and "_", at most 63 characters."""


class Spec(BaseModel):
    """Base of every model here: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SplitSpec(Spec):
    """One split of a COCO-format data set."""

    annotations: Path
    """COCO instances file (JSON)."""
    images: Path
    """Folder that `file_name` is relative to."""


class DatasetSpec(Spec):
    """A data set on a disk that every worker can read."""

    name: Name
    train: SplitSpec
    validation: SplitSpec


class ResourcesSpec(Spec):
    """What one piece of training may use, and how many run at once."""

    cpus_per_trial: float = Field(default=1, gt=0)
    gpus_per_trial: float = Field(default=0, ge=0)
    """May be a fraction: several trials then share a GPU."""
    trials_in_flight: int = Field(default=1, ge=1)


class HeadSpec(Spec):
    """Everything of a detector but its backbone; see `searchd.domain.detector.Detector`. Student
    and teachers share it, except that a teacher's neck width is its own."""

    family: Family = Family.FASTER_RCNN
    neck_channels: int = Field(default=256, ge=1)
    head_channels: int = Field(default=1024, ge=1)
    tower_channels: int = Field(default=256, ge=1)
    tower_convs: int = Field(default=4, ge=1)
    anchor_scale: float | None = Field(default=None, gt=0)
    """None: the family's own."""
    finest_roi_scale: int = Field(default=56, ge=1)
    num_proposals: int = Field(default=1000, ge=1)
    sampled_rois: int = Field(default=512, ge=4)

    def detector(
        self, architecture: Architecture, num_classes: int, *, neck_channels: int | None = None
    ) -> Detector:
        """The detector with this head on a backbone."""
        return Detector(
            architecture=architecture,
            num_classes=num_classes,
            family=self.family,
            neck_channels=neck_channels or self.neck_channels,
            head_channels=self.head_channels,
            tower_channels=self.tower_channels,
            tower_convs=self.tower_convs,
            anchor_scale=self.anchor_scale,
            finest_roi_scale=self.finest_roi_scale,
            num_proposals=self.num_proposals,
            sampled_rois=self.sampled_rois,
        )


class TrainingSpec(Spec):
    """How a detector is trained: SGD, cosine or step learning rate. Defaults are the trial's of
    Joint-DetNAS (A.1.4)."""

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=4, ge=1)
    """Images per device."""
    learning_rate: float = Field(default=0.01, gt=0)
    schedule: Literal["cosine", "step", "linear"] = "cosine"
    """step: divided by 10 at 2/3 and at 11/12 of the epochs. linear: down to zero."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    warmup_iterations: int = Field(default=0, ge=0)
    max_grad_norm: float = Field(default=35.0, gt=0)
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    resolutions: tuple[ResolutionText, ...] = (
        Resolution(512, 512),
        Resolution(800, 600),
        Resolution(1080, 720),
        Resolution(1333, 800),
    )
    """One is drawn uniformly for every iteration (dynamic resolution, A.1.3)."""
    bn_l1: float = Field(default=0.0, ge=0)
    """Weight of the sum of |gamma| over the backbone's BN layers (Joint-DetNAS 3.3: 1e-5)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.resolutions:
            raise ValueError("resolutions must name at least one WxH")
        return self


class MethodSpec(Spec):
    """One distillation method with its weight and options; `searchd.domain.distillation` lists
    them all."""

    name: MethodName
    weight: float | None = Field(default=None, gt=0)
    """Of its loss; None: the published one for the student's kind of head."""
    options: dict[str, JsonValue] = {}
    """The method's own, see `searchd.domain.method_options`; stored with defaults filled in."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        object.__setattr__(self, "options", _options(self.name).dump_python(self.parsed_options))
        return self

    @property
    def parsed_options(self) -> Any:
        """The options as the catalogue's dataclass.

        Raises:
            ValueError: One is unknown, missing or out of range.
        """
        known = [option.name for option in fields(CATALOGUE[self.name].options)]
        unknown = sorted(self.options.keys() - set(known))
        if unknown:
            raise ValueError(
                f"{self.name} has no option {', '.join(unknown)}; "
                f"it has {', '.join(known) or 'none'}"
            )
        return _options(self.name).validate_python(self.options)


@cache
def _options(name: MethodName) -> TypeAdapter[Any]:
    return TypeAdapter(CATALOGUE[name].options)


class DistillationSpec(Spec):
    """Which methods a trial distils with. Default: Joint-DetNAS's three, unit weights."""

    methods: tuple[MethodSpec, ...] = tuple(MethodSpec(name=name) for name in JOINT_DETNAS)

    teacher_ap_floor: float | None = Field(default=None, ge=0, le=1)
    """AP in [0, 1] at the largest resolution that the teacher must exceed, or a warning is
    recorded; None: the student's AP before the trial."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError(f"methods must be named once each, got {', '.join(names)}")
        return self

    @property
    def options(self) -> dict[MethodName, Any]:
        """Each method's options, by its name."""
        return {method.name: method.parsed_options for method in self.methods}


PROGRESSIVE_DISTILLATION = DistillationSpec(methods=(MethodSpec(name=MethodName.FEATURE_MATCHING),))
"""What a progressive search distils by unless told otherwise (MTPD 3.1)."""


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
    """H(S, r) = AP * [(C/C_base) * (R/R_base)^beta]^(-alpha), papers.md 1.3."""

    alpha: float = Field(default=0.4, ge=0)
    beta: float = Field(default=0.8, ge=0)
    base_resolution: ResolutionText = Resolution(1333, 800)
    """R_base, at which C and C_base are counted too."""


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


class BudgetSpec(Spec):
    """When a search ends."""

    max_trials: int = Field(default=100, ge=1)
    """Search trials, trial 0 included; base and controls are extra."""
    patience: int = Field(default=20, ge=1)
    """It has converged after this many trials in a row without a better score."""


class SearchSpec(Spec):
    """A search: a base detector, a data set, a pool of teachers, a budget."""

    name: Name
    dataset: Name
    pool: Name
    base: BaseSpec = BaseSpec()
    head: HeadSpec = HeadSpec()
    trial: TrainingSpec = TrainingSpec(bn_l1=1e-5)
    distillation: DistillationSpec = DistillationSpec()
    """The default of a progressive search is `PROGRESSIVE_DISTILLATION`."""
    strategy: StrategySpec = JointDetNasSpec()
    score: ScoreSpec = ScoreSpec()
    budget: BudgetSpec = BudgetSpec()
    resources: ResourcesSpec = ResourcesSpec()
    control: bool = True
    """After the search, train the base further without teacher and action for as many trials as
    the best detector's lineage has, so that what training alone gains is known."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        progressive = isinstance(self.strategy, ProgressiveSpec)
        if progressive and "distillation" not in self.model_fields_set:
            object.__setattr__(self, "distillation", PROGRESSIVE_DISTILLATION)
        check_fit(self.distillation.options, _traits(self.head))
        strategy, allowed = self.strategy, self.budget.max_trials
        if isinstance(strategy, PipelineSpec) and strategy.num_trials > allowed:
            raise ValueError(
                f"strategy.further_trials={strategy.further_trials} makes {strategy.num_trials} "
                f"trials, but budget.max_trials={allowed}"
            )
        if isinstance(strategy, ProgressiveSpec):
            self._check_progressive(strategy)
        return self

    def _check_progressive(self, strategy: ProgressiveSpec) -> None:
        if strategy.most_stages > self.budget.max_trials:
            raise ValueError(
                f"strategy progressive may need {strategy.most_stages} trials, but "
                f"budget.max_trials={self.budget.max_trials}"
            )
        names = {method.name for method in self.distillation.methods}
        if not names - {MethodName.INHERITING}:
            raise ValueError(
                "strategy progressive needs a method in distillation.methods that later teachers "
                f"teach by; {MethodName.INHERITING} acts at the first alone"
            )


class SpaceSpec(Spec):
    """The space of subnets of a pool; see `searchd.domain.subnet.SubnetSpace`. The default is the
    paper's."""

    depths: tuple[tuple[int, ...], ...] = (
        (2, 3),
        (2, 3, 4),
        tuple(range(2, 24)),
        (2, 3),
    )
    widths: tuple[tuple[float, ...], ...] = ((1.0, 1.25, 1.5),) * 4
    neck_channels: tuple[int, ...] = (256, 320, 384)
    resolutions: tuple[ResolutionText, ...] = TrainingSpec().resolutions
    base_channels: int = Field(default=64, ge=1)
    channel_divisor: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ = self.space
        return self

    @property
    def space(self) -> SubnetSpace:
        return SubnetSpace(
            depths=self.depths,
            widths=self.widths,
            neck_channels=self.neck_channels,
            num_resolutions=len(self.resolutions),
            base_channels=self.base_channels,
            channel_divisor=self.channel_divisor,
        )


class ShrinkPhaseSpec(Spec):
    """One phase of progressive shrinking: bounds inside the pool's space."""

    name: Name
    min_depths: tuple[int, int, int, int]
    min_width: float
    """Smallest width coefficient; the neck keeps the same fraction of its largest width."""
    learning_rate: float = Field(gt=0)
    epochs: int = Field(ge=1)
    distil: bool
    """Whether the supernet as it was after the first phase teaches (papers.md 1.7)."""


PAPER_PHASES = (
    ShrinkPhaseSpec(
        name="supernet",
        min_depths=(3, 4, 23, 3),
        min_width=1.5,
        learning_rate=0.12,
        epochs=48,
        distil=False,
    ),
    ShrinkPhaseSpec(
        name="shrink-1",
        min_depths=(3, 4, 12, 3),
        min_width=1.25,
        learning_rate=0.04,
        epochs=24,
        distil=True,
    ),
    ShrinkPhaseSpec(
        name="shrink-2",
        min_depths=(2, 2, 2, 2),
        min_width=1.0,
        learning_rate=0.04,
        epochs=36,
        distil=True,
    ),
)
"""Joint-DetNAS Table 8."""


class PoolSpec(Spec):
    """An elastic teacher pool and how it is trained."""

    name: Name
    dataset: Name
    space: SpaceSpec = SpaceSpec()
    head: HeadSpec = HeadSpec()
    """`neck_channels` is ignored here: the space has the neck's."""
    phases: tuple[ShrinkPhaseSpec, ...] = PAPER_PHASES
    training: TrainingSpec = TrainingSpec(batch_size=2, schedule="step", warmup_iterations=500)
    """`epochs` and `learning_rate` are the phases'."""
    num_workers: int = Field(default=1, ge=1)
    """Data-parallel workers, one device each."""
    cpus_per_worker: float = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0, ge=0)
    bn_reset_images: int = Field(default=2000, ge=1)
    """Training images whose statistics replace the BN statistics of an activated subnet."""
    evaluated_subnets: int = Field(default=4, ge=1)
    """Subnets that are evaluated once trained: the largest, the smallest, and random ones."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        space = self.space.space
        if self.head.family is not Family.FASTER_RCNN:
            raise ValueError(
                f"head.family={self.head.family}: the teachers of a pool are "
                f"{Family.FASTER_RCNN}; the student of a search may be of another family"
            )
        if not self.phases:
            raise ValueError("phases must not be empty")
        if self.phases[0].distil:
            raise ValueError(
                f"phase {self.phases[0].name}: the first phase trains the supernet that teaches "
                "later ones, so it cannot distil"
            )
        for phase in self.phases:
            for stage, (depth, legal) in enumerate(
                zip(phase.min_depths, space.depths, strict=True), start=1
            ):
                if depth > legal[-1]:
                    raise ValueError(
                        f"phase {phase.name}: min_depths[{stage}]={depth} exceeds the space's "
                        f"largest depth {legal[-1]}"
                    )
            if phase.min_width > min(widths[-1] for widths in space.widths):
                raise ValueError(
                    f"phase {phase.name}: min_width={phase.min_width} exceeds the space's widths"
                )
        return self


def check_pool(search: SearchSpec, pool: PoolSpec) -> None:
    """See that a search's methods fit the teachers of a pool.

    Raises:
        InvalidValueError: One does not; the message names both sides and what would fit.
    """
    teacher = _traits(pool.head, neck_channels=pool.space.neck_channels)
    check_fit(search.distillation.options, _traits(search.head), teacher)
    if isinstance(search.strategy, ProgressiveSpec):
        teachers_of(search, pool)


def teachers_of(search: SearchSpec, pool: PoolSpec) -> dict[str, Subnet]:
    """The teachers of a progressive search over a pool, by name.

    Raises:
        InvalidValueError: One is not in the pool, or it has not so many.
    """
    strategy, space = search.strategy, pool.space.space
    assert isinstance(strategy, ProgressiveSpec)
    if strategy.num_sampled_teachers is not None:
        return sample_teachers(space, strategy.num_sampled_teachers, search.seed)
    for subnet in strategy.teachers.values():
        space.check(subnet)
    return dict(strategy.teachers)


def _traits(head: HeadSpec, neck_channels: tuple[int, ...] | None = None) -> Traits:
    """What methods ask of a detector with this head; its backbone and classes do not matter."""
    return traits(head.detector(preset("resnet18"), num_classes=1), neck_channels=neck_channels)


class LoadedBase(Spec):
    """A base that is not trained, as a worker finds it."""

    mmdet: MmdetSpec
    head: HeadSpec
    """The search's, which the checkpoint's must be."""


class Inherited(Spec):
    """The parent's student, as a child finds it."""

    detector: Detector
    student: Artifact
    """safetensors of the whole detector."""
    adapters: Artifact | None = None
    """safetensors of the distillation adapters, which are inherited with the student."""
    aps: dict[ResolutionText, float] = {}
    """AP in [0, 1] of the parent's student, by resolution."""


class PoolRef(Spec):
    """A trained pool, as a worker finds it."""

    supernet: Artifact
    """safetensors of the supernet."""
    space: SpaceSpec
    head: HeadSpec
    bn_reset_images: int


class TrialOrder(Spec):
    """Everything a worker needs for one trial. It reaches no database."""

    search: str
    """Search id."""
    proposal: Proposal
    attempt: int = Field(ge=1)
    dataset: DatasetSpec
    detector: Detector | None = None
    """The base to train from scratch."""
    loaded_base: LoadedBase | None = None
    """The base to evaluate as it is; `training` is not read."""
    inherited: Inherited | None = None
    pool: PoolRef | None = None
    """Given if and only if the proposal names a teacher or takes a subnet."""
    training: TrainingSpec
    distillation: DistillationSpec = DistillationSpec(methods=())
    score: ScoreSpec
    evaluated_at: tuple[ResolutionText, ...]
    """Resolutions at which the student is evaluated after training."""
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first: their checkpoints may be taken up."""
    num_threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
    slice_s: float = Field(default=60.0, gt=0)
    """Seconds after which the worker hands over a `Progress` and looks whether to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        takes_subnet = isinstance(self.proposal.change, TakeSubnet)
        sources = [self.detector, self.loaded_base, self.inherited]
        if len(sources) - sources.count(None) != (0 if takes_subnet else 1):
            raise ValueError(
                "give exactly one of detector, loaded_base and inherited; none to take a subnet"
            )
        if (self.proposal.teacher is not None or takes_subnet) != (self.pool is not None):
            raise ValueError(
                "a pool belongs to a proposal with a teacher or a subnet to take, and to no other"
            )
        if (self.proposal.role is TrialRole.BASE or takes_subnet) != (self.inherited is None):
            raise ValueError("the base, and what takes a subnet, alone inherit nothing")
        return self


class PoolOrder(Spec):
    """Everything that training a pool needs. It reaches no database."""

    pool: str
    """Pool id."""
    attempt: int = Field(ge=1)
    spec: PoolSpec
    dataset: DatasetSpec
    artifacts: str
    """URI of the folder that this attempt writes to."""
    previous_attempts: tuple[str, ...] = ()
    """URIs of earlier attempts' folders, newest first: their checkpoints may be taken up."""
    num_threads: int = Field(default=1, ge=1)
    """Of each data-parallel worker."""
    device: Literal["cpu", "cuda"] = "cpu"
    slice_s: float = Field(default=5.0, gt=0)
    """Seconds after which a worker hands over a `PoolProgress` and looks whether to stop."""
    checkpoint_s: float = Field(default=600.0, gt=0)
    """Seconds between checkpoints inside an epoch; each epoch ends with one."""


class TimedDetector(Spec):
    """One detector at one resolution, to be timed."""

    trial: str
    """Name inside the search."""
    detector: Detector
    student: Artifact
    resolution: ResolutionText


class CostsOrder(Spec):
    """Teachers to be compared, with each other and with a student; see
    `detection.adaptation_cost`."""

    dataset: DatasetSpec
    student: Inherited
    pool: PoolRef
    teachers: dict[str, Subnet]
    """By name."""
    pairs: tuple[tuple[str, str], ...]
    """Wanted costs (from, to), among teachers' names and `STUDENT_NAME`. May be empty."""
    resolution: ResolutionText
    """Of the images, for costs and APs."""
    normalize: Literal["none", "target_var"]
    training: TrainingSpec
    """Its batches and resolutions are those of BN reset, as in a trial."""
    num_parts: int = Field(ge=1)
    """Tasks that the images are dealt to."""
    cpus: float
    """Of a task."""
    gpus: float
    num_threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def compared(self) -> list[str]:
        """Names that a pair has."""
        return sorted({name for pair in self.pairs for name in pair})


class Comparison(Spec):
    """What was learned of teachers."""

    costs: dict[str, dict[str, float]]
    """costs[A][B] = C(A, B) of the wanted pairs."""
    performance: dict[str, float]
    """AP of every teacher in [0, 1] on the validation split."""


class LatencyOrder(Spec):
    """Detectors to be timed side by side, by one worker with nothing beside it."""

    detectors: tuple[TimedDetector, ...]
    num_threads: int = Field(default=1, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"
