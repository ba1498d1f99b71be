"""A registered teacher: it is evaluated once; searches and distillations refer to it by name."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from searchd.domain.architecture import preset
from searchd.domain.detector import Detector
from searchd.domain.method_fit import Traits, traits
from searchd.domain.resolution import Resolution
from searchd.domain.subnet import Subnet
from searchd.spec.base import Name, ResolutionText, Spec, TrialId
from searchd.spec.search import MmdetSpec
from searchd.spec.training import HeadSpec, TrainingSpec

_TRAINING: dict[str, Any] = {"epochs": 12, "schedule": "step", "warmup_iterations": 100}
"""Defaults of a teacher's training that differ from those of a trial's: the schedule of mmdet's
configs, with a warm-up for data sets that are smaller than COCO."""


class PoolSubnetSpec(Spec):
    """One subnet of a pool."""

    pool: Name
    """Name of the trained pool that contains the subnet."""
    subnet: Subnet
    """Genes of the subnet: depths, widths and neck channels."""


class MmdetStartSpec(Spec):
    """A detector of mmdet that is trained on the data set."""

    config: str = Field(min_length=1)
    """Name of a config that mmdet ships, for example "retinanet_r50_fpn_1x_coco"."""
    checkpoint: Path | None = None
    """Path of the checkpoint that the training starts from, on a disk that every worker can read;
    it may know other classes, whose layers then start from random weights. Null: all weights are
    random."""
    options: dict[str, JsonValue] = {}
    """Values that replace those of the config's `model`, by dotted key, for example
    {"backbone.depth": 18}."""


class TeacherTrainingSpec(Spec):
    """A detector that is trained on the data set before it is evaluated and becomes a teacher. Give
    exactly one of `mmdet` and `backbone`."""

    mmdet: MmdetStartSpec | None = None
    """Detector of mmdet to train, from a checkpoint or from random weights."""
    backbone: str | None = None
    """Name of a published backbone (`searchd.domain.architecture.PRESETS`), for example resnet101,
    of a detector to train from random weights."""
    base_channels: int | None = Field(default=None, ge=1)
    """Number of output channels of the first convolution of `backbone`, with which its widths
    scale. Null uses the published number."""
    head: HeadSpec = HeadSpec()
    """Head of the detector with `backbone`. Not allowed with `mmdet`, whose config has the head."""
    training: TrainingSpec = TrainingSpec(**_TRAINING)
    """How the detector is trained. Fields that are not given have the defaults shown here."""
    seed: int = Field(default=0, ge=0)
    """Seed of every random draw: initial weights, data order, augmentation."""

    @field_validator("training", mode="before")
    @classmethod
    def _fill(cls, value: object) -> object:
        """Fill in the defaults of teachers, which are not those of trials."""
        return {**_TRAINING, **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.mmdet is None) == (self.backbone is None):
            raise ValueError("give exactly one of mmdet and backbone")
        if self.mmdet is not None and self.head != HeadSpec():
            raise ValueError("head belongs to backbone; the config of mmdet has its own")
        if self.mmdet is not None and self.base_channels is not None:
            raise ValueError("base_channels belongs to backbone; give options of mmdet instead")
        _ = self.detector(num_classes=1)
        return self

    def detector(self, num_classes: int) -> Detector | None:
        """The detector with `backbone`; None with `mmdet`."""
        if self.backbone is None:
            return None
        architecture = preset(self.backbone, base_channels=self.base_channels)
        return self.head.detector(architecture, num_classes)

    @property
    def traits(self) -> Traits | None:
        """What is known of the teacher before it is built: the traits of `backbone` with `head`;
        None with `mmdet`, whose config only workers read."""
        detector = self.detector(num_classes=1)
        return None if detector is None else traits(detector)


class TeacherSpec(Spec):
    """A teacher: a subnet of a pool, the student of a finished trial, a detector that mmdet
    trained, or one that the service trains. Give exactly one of `subnet`, `trial`, `mmdet` and
    `train`."""

    name: Name
    """Name of the teacher, by which searches and distillations refer to it."""
    dataset: Name
    """Name of the data set that the teacher is trained on, if it is, and on whose validation split
    it is evaluated; its classes must be those of the teacher."""
    subnet: PoolSubnetSpec | None = None
    """Subnet of a trained pool that is the teacher."""
    trial: TrialId | None = None
    """Id of the finished trial whose student is the teacher."""
    mmdet: MmdetSpec | None = None
    """Config and checkpoint of the mmdet detector that is the teacher."""
    train: TeacherTrainingSpec | None = None
    """Detector that is trained on the data set to become the teacher, and how."""
    resolution: ResolutionText = Resolution(1333, 800)
    """Input resolution, "WxH" in pixels, at which the teacher is evaluated."""
    cpus: float = Field(default=1, gt=0)
    """Number of CPUs that Ray reserves for the training, or for the evaluation."""
    gpus: float = Field(default=0, ge=0)
    """Number of GPUs that Ray reserves for the training, or for the evaluation, at most 1; with 0,
    it runs on CPUs."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.subnet, self.trial, self.mmdet, self.train].count(None) != 3:
            raise ValueError("give exactly one of subnet, trial, mmdet and train")
        return self
