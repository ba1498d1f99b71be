"""How a detector is built around its backbone, trained, and distilled."""

from dataclasses import fields
from functools import cache
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, TypeAdapter, model_validator

from searchd.domain.architecture import Architecture
from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import CATALOGUE, JOINT_DETNAS, MethodName
from searchd.domain.resolution import Resolution
from searchd.spec.base import ResolutionText, Spec


class ResourcesSpec(Spec):
    """The CPUs and GPUs that one trial reserves, and how many trials run at once."""

    cpus_per_trial: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for each trial."""
    gpus_per_trial: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for each trial. With a fraction, several trials share one
    GPU; with 0, trials run on CPUs."""
    trials_in_flight: int = Field(default=1, ge=1)
    """Largest number of trials of this run that are trained at the same time."""


class HeadSpec(Spec):
    """The parts of a detector other than its backbone (`searchd.domain.detector.Detector`). Student
    and teachers have the same head; only the neck width of a teacher may differ."""

    family: Family = Family.FASTER_RCNN
    """Detector family: faster_rcnn or cascade_rcnn (two-stage), retinanet or fcos (one-stage)."""
    neck_channels: int = Field(default=256, ge=1)
    """Number of channels of every FPN level of the student."""
    head_channels: int = Field(default=1024, ge=1)
    """Width of the two fully connected layers of each RoI head. Two-stage families only."""
    tower_channels: int = Field(default=256, ge=1)
    """Number of channels of the convolutions of a one-stage head. One-stage families only."""
    tower_convs: int = Field(default=4, ge=1)
    """Number of 3x3 convolutions before the prediction, in each of the classification and the box
    tower. One-stage families only."""
    anchor_scale: float | None = Field(default=None, gt=0)
    """Size of the objects that an FPN level detects, divided by the stride of the level. Null uses
    the default of the family: 4 for retinanet, 8 for the others."""
    finest_roi_scale: int = Field(default=56, ge=1)
    """RoIs whose sqrt(area) is below twice this number of pixels are pooled from the finest level,
    P2. Two-stage families only."""
    num_proposals: int = Field(default=1000, ge=1)
    """Number of RPN proposals per image that reach the RoI head at test time. Two-stage families
    only."""
    sampled_rois: int = Field(default=512, ge=4)
    """Number of RoIs per image that the RoI head is trained on, at most a quarter of them positive.
    Distillation compares student and teacher on the same number of RoIs, in every family."""

    @classmethod
    def of(cls, detector: Detector) -> Self:
        """The head of a detector."""
        return cls(**{name: getattr(detector, name) for name in cls.model_fields})

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
    """How a detector is trained with SGD. The defaults are those of a trial of Joint-DetNAS
    (A.1.4)."""

    epochs: int = Field(default=3, ge=1)
    """Number of passes over the train split."""
    batch_size: int = Field(default=4, ge=1)
    """Number of images per training step and device."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate of SGD at the start of the schedule, after the warm-up."""
    schedule: Literal["cosine", "step", "linear"] = "cosine"
    """How the learning rate decreases. cosine: to zero, along a cosine. step: divided by 10 after
    2/3 and after 11/12 of the epochs. linear: to zero, along a straight line."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; 0 is SGD without momentum."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay (L2 penalty) of SGD."""
    warmup_iterations: int = Field(default=0, ge=0)
    """Number of training steps during which the learning rate rises linearly at the start; 0 for
    no warm-up."""
    max_grad_norm: float = Field(default=35.0, gt=0)
    """Gradients are clipped to this L2 norm."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability, from 0 to 1, that a training image is mirrored horizontally."""
    resolutions: tuple[ResolutionText, ...] = (
        Resolution(512, 512),
        Resolution(800, 600),
        Resolution(1080, 720),
        Resolution(1333, 800),
    )
    """Input resolutions, each "WxH" in pixels. Every training step draws one of them uniformly
    (dynamic resolution, Joint-DetNAS A.1.3), and AP is measured at each."""
    bn_l1: float = Field(default=0.0, ge=0)
    """Weight of the sum of |gamma| over the BN layers of the backbone in the loss, which prepares
    channels for pruning (Joint-DetNAS 3.3 uses 1e-5); 0 switches it off."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.resolutions:
            raise ValueError("resolutions must name at least one WxH")
        return self


class MethodSpec(Spec):
    """One distillation method with its weight and options. `searchd tools methods` lists all
    methods (`searchd.domain.distillation_methods`)."""

    name: MethodName
    """Name of the distillation method, as `searchd tools methods` lists it."""
    weight: float | None = Field(default=None, gt=0)
    """Factor of the method's loss. Null uses the published weight for the student's family."""
    options: dict[str, JsonValue] = {}
    """Options of the method by name, as `searchd tools methods` lists them
    (`searchd.domain.distillation_methods`). Options that are not given have their defaults."""

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


class MethodsSpec(Spec):
    """The methods that a trial distils by. The default is the three methods of Joint-DetNAS, each
    with weight 1."""

    methods: tuple[MethodSpec, ...] = tuple(MethodSpec(name=name) for name in JOINT_DETNAS)
    """Distillation methods whose losses are added to the detection loss; each at most once."""
    teacher_ap_floor: float | None = Field(default=None, ge=0, le=1)
    """AP in [0, 1] that the teacher should exceed at the largest resolution; a teacher that does
    not causes a warning. Null uses the AP of the student before the trial."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [method.name for method in self.methods]
        if len(set(names)) < len(names):
            raise ValueError(f"methods must be named once each, got {', '.join(names)}")
        return self

    @property
    def options(self) -> dict[MethodName, Any]:
        """The options of each method, by the method's name."""
        return {method.name: method.parsed_options for method in self.methods}
