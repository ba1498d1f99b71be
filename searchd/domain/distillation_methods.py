"""The catalogue of distillation methods: their names, options, defaults, and what each needs.

A method has a row here, and its loss in `detection/distillation/<name>.py`. A spec gives the
options under `options`. Standard library only: what cannot work is refused when a spec is submitted
(`searchd.domain.method_fit`), long before a GPU sees it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from searchd.domain.errors import InvalidValueError
from searchd.domain.method_description import (
    CLASS_SPECIFIC_BOXES,
    ONE_STAGE,
    TWO_STAGE,
    Method,
    Tap,
    at_least_zero,
    fraction,
    positive,
)


class MethodName(StrEnum):
    """Name of a distillation method, as a spec writes it. `CATALOGUE` says what each is."""

    PROPOSAL_FEATURE = "proposal_feature"
    CLASSIFICATION = "classification"
    CLASS_AWARE_LOCALISATION = "class_aware_localisation"
    LOCALISATION = "localisation"
    FEATURE_MATCHING = "feature_matching"
    FEATURE_IMITATION = "feature_imitation"
    SGFI = "sgfi"
    CKD = "ckd"
    PREDICTION_CONVERSION = "prediction_conversion"
    HEAD_TRANSFER = "head_transfer"
    INHERITING = "inheriting"
    ICD = "icd"
    DICOD_CLASSIFICATION = "dicod_classification"
    DICOD_LOCALISATION = "dicod_localisation"
    CWD = "cwd"
    FGD = "fgd"
    MGD = "mgd"


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
        positive(self, "initial_temperature")


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
        positive(self, "temperature", "projection_channels")
        at_least_zero(self, "queue_size")
        fraction(self, "iou_threshold")


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
        positive(self, "num_heads", "learning_rate")
        at_least_zero(self, "fake_per_object", "warmup_iterations", "decoder_only_iterations")
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
        positive(self, "temperature")


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
        at_least_zero(self, "crop_weight", "feature_weight")
        positive(self, "crop_size", "crop_pooling", "feature_pooling")
        if not (self.crop_weight or self.feature_weight):
            raise InvalidValueError("crop_weight and feature_weight must not both be 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CwdOptions:
    """CWD (docs/papers.md 6)."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "temperature")


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
        positive(self, "temperature")
        at_least_zero(self, "foreground", "background", "attention", "relation")


@dataclass(frozen=True, slots=True, kw_only=True)
class MgdOptions:
    """MGD (docs/papers.md 6). None means the published value for the student's kind of head."""

    scale: float | None = None
    """alpha: 2e-5 for one-stage students, 5e-7 for two-stage ones."""
    masked_fraction: float | None = None
    """lambda: share of positions that are hidden; 0.65 and 0.45."""

    def __post_init__(self) -> None:
        at_least_zero(self, "scale")
        fraction(self, "masked_fraction")


CATALOGUE: dict[MethodName, Method] = {
    MethodName.PROPOSAL_FEATURE: Method(
        title="Features of positive proposals",
        paper="Joint-DetNAS",
        section="3.2.1, A.2",
        reads_student=frozenset({Tap.REGION_FEATURES}),
        reads_teacher=frozenset({Tap.REGION_FEATURES}),
        teachers=TWO_STAGE,
        options=ProposalFeatureOptions,
    ),
    MethodName.CLASSIFICATION: Method(
        title="Soft cross entropy of class scores",
        paper="Joint-DetNAS, G-DetKD",
        section="3.2.2, A.2; 4.3.1",
        reads_student=frozenset({Tap.CLASS_LOGITS}),
        reads_teacher=frozenset({Tap.CLASS_LOGITS}),
        students=TWO_STAGE,
        teachers=TWO_STAGE,
    ),
    MethodName.CLASS_AWARE_LOCALISATION: Method(
        title="Box deltas weighted by the teacher's class scores",
        paper="Joint-DetNAS, G-DetKD",
        section="3.2.2, A.2; 4.3.1",
        reads_student=frozenset({Tap.BOX_DELTAS}),
        reads_teacher=frozenset({Tap.BOX_DELTAS, Tap.CLASS_LOGITS}),
        students=CLASS_SPECIFIC_BOXES,
        teachers=CLASS_SPECIFIC_BOXES,
    ),
    MethodName.LOCALISATION: Method(
        title="Box deltas of the object's class",
        paper="G-DetKD",
        section="4.3.1",
        reads_student=frozenset({Tap.BOX_DELTAS}),
        reads_teacher=frozenset({Tap.BOX_DELTAS}),
        students=CLASS_SPECIFIC_BOXES,
        teachers=CLASS_SPECIFIC_BOXES,
    ),
    MethodName.FEATURE_MATCHING: Method(
        title="Neck features, level by level",
        paper="MTPD",
        section="3.1",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        weight=0.8,
        one_stage_weight=0.5,
        options=FeatureMatchingOptions,
    ),
    MethodName.FEATURE_IMITATION: Method(
        title="Neck features under an imitation mask",
        paper="G-DetKD",
        section="Table 6",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        options=FeatureImitationOptions,
    ),
    MethodName.SGFI: Method(
        title="Semantic-guided feature imitation",
        paper="G-DetKD",
        section="4.1",
        reads_student=frozenset({Tap.REGION_LEVELS}),
        reads_teacher=frozenset({Tap.REGION_FEATURES}),
        teachers=TWO_STAGE,
        options=SgfiOptions,
    ),
    MethodName.CKD: Method(
        title="Contrastive distillation with a memory queue",
        paper="G-DetKD",
        section="4.2, B",
        reads_student=frozenset({Tap.EMBEDDINGS}),
        reads_teacher=frozenset({Tap.EMBEDDINGS}),
        teachers=TWO_STAGE,
        options=CkdOptions,
    ),
    MethodName.PREDICTION_CONVERSION: Method(
        title="Class scores of a one-stage student, rescaled",
        paper="G-DetKD",
        section="D",
        reads_student=frozenset({Tap.CLASS_LOGITS}),
        reads_teacher=frozenset({Tap.CLASS_LOGITS}),
        students=ONE_STAGE,
        teachers=TWO_STAGE,
    ),
    MethodName.HEAD_TRANSFER: Method(
        title="The teacher's head, copied and frozen",
        paper="G-DetKD",
        section="4.3.1, A",
        students=TWO_STAGE,
        teachers=TWO_STAGE,
        same_head=True,
    ),
    MethodName.INHERITING: Method(
        title="The teacher's neck and head as a start",
        paper="ICD",
        section="B",
        same_head=True,
    ),
    MethodName.ICD: Method(
        title="Instance-conditional distillation",
        paper="ICD",
        section="3, A",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        weight=3.0,
        one_stage_weight=6.0,
        options=IcdOptions,
    ),
    MethodName.DICOD_CLASSIFICATION: Method(
        title="A crop classifier's scores",
        paper="DICOD",
        section="KD_cls",
        reads_student=frozenset({Tap.MATCHED_PREDICTIONS}),
        weight=0.4,
        options=DicodClassificationOptions,
    ),
    MethodName.DICOD_LOCALISATION: Method(
        title="Predicted crops that look like the object's",
        paper="DICOD",
        section="KD_loc, L_loc",
        reads_student=frozenset({Tap.MATCHED_PREDICTIONS}),
        weight=0.15,
        options=DicodLocalisationOptions,
    ),
    MethodName.CWD: Method(
        title="Channel-wise distributions over positions",
        paper="CWD",
        section="3",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        weight=5.0,
        options=CwdOptions,
    ),
    MethodName.FGD: Method(
        title="Focal and global distillation",
        paper="FGD",
        section="3",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        options=FgdOptions,
    ),
    MethodName.MGD: Method(
        title="Masked generative distillation",
        paper="MGD",
        section="3",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        options=MgdOptions,
    ),
}


def default_weight(name: MethodName, *, two_stage: bool) -> float:
    """The published weight of a method's loss."""
    method = CATALOGUE[name]
    if two_stage or method.one_stage_weight is None:
        return method.weight
    return method.one_stage_weight


JOINT_DETNAS = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.CLASSIFICATION,
    MethodName.CLASS_AWARE_LOCALISATION,
)
"""What Joint-DetNAS distils by (docs/papers.md 1.8); the default of a search."""
