"""How a detector is built around its backbone, trained, and distilled."""

from dataclasses import fields
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, JsonValue, TypeAdapter, model_validator

from searchd.domain.architecture import Architecture
from searchd.domain.detector import Detector, Family, check_tower
from searchd.domain.distillation_methods import CATALOGUE, JOINT_DETNAS, MethodName
from searchd.domain.resolution import Resolution
from searchd.spec.augmentation import CropSpec, Factor, PhotometricDistortionSpec, check_range
from searchd.spec.base import ResolutionText, Spec

MMDET_BATCH_SIZE = 16
"""Images per step, over all devices, that the learning rates of mmdet's configs are meant for."""
ADAMW_DEFAULTS = {"learning_rate": 1e-4, "weight_decay": 0.05, "norm_weight_decay": 0.0}
"""Defaults with AdamW: those of mmdet's Swin configs."""
BN_RESET_BATCH = 4
"""The batch size of BN reset if that of training is found by memory."""


def _read_batch_size(value: object) -> object:
    """Check a batch size, since an error of the union below would be two."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if is_number or value == "auto":
        return value
    raise ValueError(f"{value!r} is neither a number of images, at least 1, nor auto")


BatchSize = Annotated[
    Annotated[int, Field(ge=1)] | Literal["auto"], BeforeValidator(_read_batch_size)
]
Beta = Annotated[float, Field(ge=0, lt=1)]


Priority = Annotated[int, Field(ge=-1000, le=1000)]


class ResourcesSpec(Spec):
    """The CPUs and GPUs that one trial reserves, and how many trials run at once."""

    cpus_per_trial: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for each trial."""
    gpus_per_trial: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for each trial, at most 1. With a fraction, several trials
    share one GPU; with 0, trials run on CPUs."""
    trials_in_flight: int = Field(default=1, ge=1)
    """Largest number of trials of this run that are trained at the same time."""


class HeadSpec(Spec):
    """The parts of a detector other than its backbone (`searchd.domain.detector.Detector`). Student
    and teachers have the same head; only the neck width of a teacher may differ."""

    family: Family = Family.FASTER_RCNN
    """Detector family: faster_rcnn, mask_rcnn (which also finds masks), cascade_rcnn or
    cascade_mask_rcnn (two-stage), retinanet, fcos, atss, gfl, vfnet or tood (one-stage)."""
    neck_channels: int = Field(default=256, ge=1)
    """Number of channels of every FPN level of the student."""
    head_channels: int = Field(default=1024, ge=1)
    """Width of the two fully connected layers of each RoI head. Two-stage families only."""
    mask_channels: int = Field(default=256, ge=1)
    """Number of channels of the layers of each mask head. mask_rcnn and cascade_mask_rcnn only."""
    tower_channels: int = Field(default=256, ge=1)
    """Number of channels of the convolutions of a one-stage head, at least 8 for tood. One-stage
    families only."""
    tower_convs: int | None = Field(default=None, ge=1)
    """Number of 3x3 convolutions before the prediction, in each of the classification and the box
    tower, or in the one tower of tood. Null uses the default of the family: 3 for vfnet, 6 for
    tood, 4 for the others. One-stage families only."""
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

    @model_validator(mode="after")
    def _check_tower(self) -> Self:
        check_tower(self.family, self.tower_channels)
        return self

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
            mask_channels=self.mask_channels,
            tower_channels=self.tower_channels,
            tower_convs=self.tower_convs,
            anchor_scale=self.anchor_scale,
            finest_roi_scale=self.finest_roi_scale,
            num_proposals=self.num_proposals,
            sampled_rois=self.sampled_rois,
        )


class EmaSpec(Spec):
    """An exponential moving average (EMA) of the weights. The averaged weights are evaluated and
    stored (mmdet's ExpMomentumEMA, with the values of its YOLOX and RTMDet configs)."""

    decay: float = Field(default=0.9998, gt=0, lt=1)
    """Share of the average that a training step keeps, after the warm-up."""
    warmup: int = Field(default=2000, ge=0)
    """Number of training steps in which the share rises: it is decay * (1 - exp(-step / warmup)).
    Lower it for trainings of fewer steps; 0 for no warm-up."""


class TrainingSpec(Spec):
    """How a detector is trained. The defaults are those of a trial of Joint-DetNAS (A.1.4); the
    further options are those of mmdet's configs, and are off."""

    epochs: int = Field(default=3, ge=1)
    """Number of passes over the train split."""
    batch_size: BatchSize = 4
    """Number of images per training step and device. auto: the largest that fits into 90 % of the
    memory (docs/detectors.md), found once for each trial."""
    base_batch_size: int | None = Field(default=None, ge=1)
    """Number of images, over all devices, that `learning_rate` is meant for. The rate is multiplied
    by the actual number divided by this one. If it is not given, it is 16, as in mmdet's configs,
    where `learning_rate` is not given either or `batch_size` is auto. Null: the rate is used as
    given."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimizer: SGD with momentum, or AdamW."""
    learning_rate: float = Field(default=0.01, gt=0)
    """Learning rate at the start of the schedule, after the warm-up. If it is not given, it is 0.01
    for sgd and 0.0001 for adamw, per 16 images; see `base_batch_size`."""
    backbone_learning_rate_factor: float = Field(default=1.0, gt=0)
    """Factor of the learning rate of the backbone. Below 1, a pretrained backbone changes less than
    neck and head."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate from each stage of the backbone to the stage before it. The last
    stage has it once, the stem five times; neck and head do not have it."""
    schedule: Literal["cosine", "step", "linear"] = "cosine"
    """How the learning rate decreases. cosine: to zero, along a cosine. step: divided by 10 after
    2/3 and after 11/12 of the epochs. linear: to zero, along a straight line."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD; 0 is SGD without momentum. AdamW ignores it."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Decay rates of AdamW's averages of the gradient and of its square. SGD ignores them."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay. If it is not given, it is 0.0001 for sgd and 0.05 for adamw."""
    norm_weight_decay: float | None = Field(default=None, ge=0)
    """Weight decay of the weights of normalisation layers and of all biases. Null: that of the
    other weights for sgd, 0 for adamw."""
    warmup_iterations: int = Field(default=0, ge=0)
    """Number of training steps during which the learning rate rises linearly at the start; 0 for
    no warm-up."""
    max_grad_norm: float = Field(default=35.0, gt=0)
    """Gradients are clipped to this L2 norm."""
    use_empty_images: bool = False
    """Whether images without objects are trained on, as background. By default they are left out,
    as in mmdet's configs. Images whose only objects are crowds are always left out."""
    frozen_stages: int = Field(default=0, ge=0, le=4)
    """Number of stages of the backbone that are not trained, counted from the input. With 1 or
    more, the stem is not trained either. For pretrained backbones; 0 trains everything."""
    norm_eval: bool = False
    """Whether the BN layers of the backbone keep their running statistics, instead of those of each
    batch. For pretrained backbones and small batches."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision: the number format of the networks. Losses, boxes and weights stay in 32 bits
    (docs/detectors.md). bf16 needs a recent GPU or CPU, fp16 a GPU."""
    ema: EmaSpec | None = None
    """Exponential moving average of the weights, which is what is evaluated and stored; {} has the
    usual values. Null: the weights of the last step are."""
    flip_probability: float = Field(default=0.5, ge=0, le=1)
    """Probability, from 0 to 1, that a training image is mirrored horizontally."""
    crop: CropSpec | None = None
    """Random crop of every training image; {kind: min_iou} has the usual values. Null: images are
    not cropped."""
    scale_jitter: tuple[Factor, Factor] | None = None
    """Smallest and largest factor of the size of a training image, relative to the resolution of
    the step, for example [0.1, 2] (mmdet's large-scale jitter) or [0.8, 1.25]. A larger image is
    cropped to the resolution. Null: no jitter."""
    photometric_distortion: PhotometricDistortionSpec | None = None
    """Random changes of the colours of training images; {} has the usual values. Null: colours are
    not changed."""
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
        if self.scale_jitter is not None:
            check_range("scale_jitter", self.scale_jitter)
        self._set_dependent_defaults()
        return self

    def _set_dependent_defaults(self) -> None:
        """Set the fields whose defaults depend on others. Stored specs have all fields, so what a
        default is today never changes what they mean."""
        defaults: dict[str, object] = {}
        if self.optimizer == "adamw":
            defaults |= ADAMW_DEFAULTS
        if self.batch_size == "auto":
            defaults["base_batch_size"] = MMDET_BATCH_SIZE
        for name, value in defaults.items():
            if name not in self.model_fields_set or getattr(self, name) is None:
                object.__setattr__(self, name, value)
        # The default rates are published ones, for 16 images; a rate that is given is meant for the
        # batch that it is given with.
        if not {"learning_rate", "base_batch_size"} & self.model_fields_set:
            object.__setattr__(self, "base_batch_size", MMDET_BATCH_SIZE)

    @property
    def largest_resolution(self) -> Resolution:
        """The resolution with the largest area, at which teachers are compared with students."""
        return max(self.resolutions, key=lambda resolution: resolution.area)

    @property
    def bn_reset_batch_size(self) -> int:
        """Images per batch where BN statistics are computed anew, which must not depend on the
        machine: `batch_size`, or its default if it is auto."""
        return BN_RESET_BATCH if self.batch_size == "auto" else self.batch_size


def check_precision(training: TrainingSpec, gpus: float, *, field: str, gpus_field: str) -> None:
    """Check that the device of a training has its precision.

    Args:
        training: The training.
        gpus: GPUs of the training.
        field: Name of the training's field, for the message.
        gpus_field: Name of the field of `gpus`, for the message.

    Raises:
        ValueError: fp16 without a GPU.
    """
    if training.amp == "fp16" and not gpus:
        raise ValueError(
            f"{field}.amp: fp16 needs a GPU, but {gpus_field} is 0; use bf16, which CPUs have too, "
            "or off"
        )


class MethodSpec(Spec):
    """One distillation method with its weight and options. `searchd tools methods` lists all
    methods (`searchd.domain.distillation_methods`)."""

    name: MethodName
    """Name of the distillation method, as `searchd tools methods` lists it."""
    weight: float | None = Field(default=None, gt=0)
    """Factor of the method's loss. Null uses the default weight for the student's family."""
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
