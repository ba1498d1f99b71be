"""The options of each distillation method, with their defaults and ranges. Standard library only.

A spec gives them under `options`; the catalogue (`searchd.domain.distillation_methods`) says which
class belongs to which method, and `detection.distillation` reads them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from searchd.domain.errors import InvalidValueError


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """The method has nothing to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalFeatureOptions:
    """Joint-DetNAS 3.2.1."""

    reduction: Literal["mean", "channel_sum"] = "mean"
    """Per-element mean, or the paper's literal sum over channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatchingOptions:
    """MTPD 3.1."""

    reduction: Literal["mean", "sum"] = "mean"
    """Mean over the elements of a level and then over levels, or the sum of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureImitationOptions:
    """G-DetKD Table 6; its RoIFI is the method proposal_feature."""

    mask: Literal["whole", "anchor", "gaussian", "ground_truth"] = "whole"
    """Where student and teacher are compared: everywhere, near the student's anchors that fit an
    object (which a head without anchors, FCOS, does not have), under a Gaussian in every object's
    box, or in all of the box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SgfiOptions:
    """G-DetKD 4.1."""

    adapter_kernel: Literal[1, 3] = 1
    """Kernel size of f_adapt, a convolution."""
    initial_temperature: float = 1.0
    """tau at the start; it is learned."""

    def __post_init__(self) -> None:
        _positive(self, "initial_temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class CkdOptions:
    """G-DetKD 4.2."""

    temperature: float = 0.07
    """gamma of the critic."""
    projection_channels: int = 128
    """Width of f_theta's output."""
    queue_size: int = 80 * 1024
    """Teacher embeddings of earlier batches that serve as negatives; 0 for none."""
    iou_threshold: float = 0.5
    """Boxes of the same image that overlap more than this are no negatives; 1 to keep all."""

    def __post_init__(self) -> None:
        _positive(self, "temperature", "projection_channels")
        _at_least_zero(self, "queue_size")
        _fraction(self, "iou_threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class IcdOptions:
    """ICD sections 3 and A."""

    num_heads: int = 8
    """Attention heads of the decoder; they share 256 channels."""
    fake_per_object: int = 5
    """Instances that are not there, for each that is."""
    max_instances: int | None = None
    """Per image, real and fake; None: 100 for two-stage students and 300 for others."""
    warmup_iterations: int = 1000
    """Before them only the decoder learns, and the student's value projection."""
    decoder_only_iterations: int = 0
    """Iterations before the training proper, in which the student is not touched (6000 in the
    paper for small data sets)."""
    learning_rate: float = 1e-4
    """Of the decoder's AdamW."""
    normalise_values: bool = True
    """LayerNorm without parameters on both value maps (docs/papers.md 4.3)."""

    def __post_init__(self) -> None:
        _positive(self, "num_heads", "learning_rate")
        _at_least_zero(self, "fake_per_object", "warmup_iterations", "decoder_only_iterations")
        if 256 % self.num_heads:
            raise InvalidValueError(f"num_heads={self.num_heads} must divide 256")
        if self.max_instances is not None and self.max_instances < 1:
            raise InvalidValueError(f"max_instances={self.max_instances} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicodClassificationOptions:
    """DICOD's KD_cls (docs/papers.md 5.2)."""

    classifier: str
    """Folder or URI of a crop classifier (`searchd tools train-classifier`)."""
    temperature: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class DicodLocalisationOptions:
    """DICOD's KD_loc and L_loc (docs/papers.md 5.3)."""

    classifier: str
    """Folder or URI of a crop classifier (`searchd tools train-classifier`)."""
    crop_weight: float = 1.0
    """Of L_loc, on the pooled crop itself, relative to KD_loc; 0 leaves it out."""
    feature_weight: float = 1.0
    """Of KD_loc, on the classifier's first convolution; 0 leaves it out."""
    crop_size: int = 112
    """Pixels a side that boxes are sampled at."""
    crop_pooling: int = 4
    """The crop is pooled to this many pixels a side before it is compared."""
    feature_pooling: int = 8

    def __post_init__(self) -> None:
        _at_least_zero(self, "crop_weight", "feature_weight")
        _positive(self, "crop_size", "crop_pooling", "feature_pooling")
        if not (self.crop_weight or self.feature_weight):
            raise InvalidValueError("crop_weight and feature_weight must not both be 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CwdOptions:
    """CWD (docs/papers.md 6)."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class FgdOptions:
    """FGD (docs/papers.md 6). None means the published value for the student's kind of head."""

    temperature: float | None = None
    """T of the attentions: 0.5, and 0.8 for students without anchors (FCOS)."""
    foreground: float | None = None
    """alpha: 1e-3 for one-stage students, 5e-5 for two-stage ones."""
    background: float | None = None
    """beta: 5e-4 and 2.5e-5."""
    attention: float | None = None
    """gamma: 1e-3 and 5e-5."""
    relation: float | None = None
    """lambda of the global part: 5e-6 and 5e-7."""

    def __post_init__(self) -> None:
        _positive(self, "temperature")
        _at_least_zero(self, "foreground", "background", "attention", "relation")


@dataclass(frozen=True, slots=True, kw_only=True)
class MgdOptions:
    """MGD (docs/papers.md 6). None means the published value for the student's kind of head."""

    scale: float | None = None
    """alpha: 2e-5 for one-stage students, 5e-7 for two-stage ones."""
    masked_fraction: float | None = None
    """lambda: share of positions that are hidden; 0.65 and 0.45."""

    def __post_init__(self) -> None:
        _at_least_zero(self, "scale")
        _fraction(self, "masked_fraction")


MethodOptions = (
    NoOptions
    | ProposalFeatureOptions
    | FeatureMatchingOptions
    | FeatureImitationOptions
    | SgfiOptions
    | CkdOptions
    | IcdOptions
    | DicodClassificationOptions
    | DicodLocalisationOptions
    | CwdOptions
    | FgdOptions
    | MgdOptions
)


def _positive(options: object, *names: str) -> None:
    _check(options, names, lambda value: value > 0, "must be positive")


def _at_least_zero(options: object, *names: str) -> None:
    _check(options, names, lambda value: value >= 0, "must be at least 0")


def _fraction(options: object, *names: str) -> None:
    _check(options, names, lambda value: 0 <= value <= 1, "must lie between 0 and 1")


def _check(
    options: object, names: tuple[str, ...], holds: Callable[[float], bool], rule: str
) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not holds(value):
            raise InvalidValueError(f"{name}={value} {rule}")
