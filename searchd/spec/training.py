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
    """One distillation method with its weight and options;
    `searchd.domain.distillation_methods` lists them all."""

    name: MethodName
    weight: float | None = Field(default=None, gt=0)
    """Of its loss; None: the published one for the student's kind of head."""
    options: dict[str, JsonValue] = {}
    """The method's options, see `searchd.domain.distillation_methods`; stored with defaults."""

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
