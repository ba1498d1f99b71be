"""The catalogue of distillation methods: their names, options, defaults and requirements.

A method has a row here, and its loss in `detection/distillation/<name>.py`. A spec gives its
options under `options`; one outside its range raises InvalidValueError. Standard library only: a
method that does not fit the student or the teacher is refused when the spec is submitted
(`searchd.domain.method_fit`).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from searchd.domain.method_description import (
    CLASS_SPECIFIC_BOXES,
    ONE_STAGE,
    TWO_STAGE,
    WITH_DISTRIBUTIONS,
    WITH_TOWERS,
    AdapterOptions,
    FeatureOptions,
    Method,
    Tap,
    at_least_zero,
    fraction,
    positive,
)
from searchd.domain.method_options import (
    BckdOptions,
    CkdOptions,
    CrosskdOptions,
    DicodClassificationOptions,
    DicodLocalisationOptions,
    DistOptions,
    DkdOptions,
    FgdOptions,
    IcdOptions,
    InheritingOptions,
    LdOptions,
)


class MethodName(StrEnum):
    """Name of a distillation method in a spec. `CATALOGUE` describes each method."""

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
    PKD = "pkd"
    DKD = "dkd"
    DIST = "dist"
    LD = "ld"
    CROSSKD = "crosskd"
    BCKD = "bckd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalFeatureOptions(FeatureOptions):
    """Options of proposal_feature (Joint-DetNAS 3.2.1, docs/papers.md 1.8)."""

    reduction: Literal["mean", "channel_sum"] = "mean"
    """How squared differences are reduced: "mean" over RoIs, positions and channels (default), or
    "channel_sum", the paper's literal sum over channels and mean over the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatchingOptions(FeatureOptions):
    """Options of feature_matching (MTPD 3.1, docs/papers.md 2.2)."""

    reduction: Literal["mean", "sum"] = "mean"
    """How squared differences are reduced: "mean" over the elements of a level and then over levels
    (default), or "sum" over both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureImitationOptions(FeatureOptions):
    """Options of feature_imitation (G-DetKD Table 6, docs/papers.md 3.4). The RoIFI of that table
    is the method proposal_feature."""

    mask: Literal["whole", "anchor", "gaussian", "ground_truth"] = "whole"
    """Cells of a level at which student and teacher are compared: "whole" for all of them
    (default), "anchor" for those with an anchor that fits an object (not for FCOS, which has no
    anchors), "gaussian" for a Gaussian inside every object's box, "ground_truth" for all cells of
    the box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SgfiOptions(FeatureOptions):
    """Options of sgfi (G-DetKD 4.1, docs/papers.md 3.1)."""

    adapter_kernel: Literal[1, 3] = 1
    """Kernel size of the convolution f_adapt, 1 (default) or 3."""
    initial_temperature: float = 1.0
    """Initial value of the learned temperature tau, above 0."""

    def __post_init__(self) -> None:
        FeatureOptions.__post_init__(self)
        positive(self, "initial_temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class CwdOptions(AdapterOptions):
    """Options of cwd (docs/papers.md 6)."""

    temperature: float = 1.0
    """Temperature tau of the softmax over positions, above 0. The default is the paper's."""

    def __post_init__(self) -> None:
        AdapterOptions.__post_init__(self)
        positive(self, "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class MgdOptions(AdapterOptions):
    """Options of mgd (docs/papers.md 6). None: the published value for the student's kind of
    head."""

    scale: float | None = None
    """Factor alpha of the loss, at least 0. None (default): 2e-5 for one-stage students, 5e-7 for
    two-stage ones."""
    masked_fraction: float | None = None
    """Share lambda of positions that are masked, in [0, 1]. None (default): 0.65 for one-stage
    students, 0.45 for two-stage ones."""

    def __post_init__(self) -> None:
        AdapterOptions.__post_init__(self)
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
        weight=3.0,  # measured (docs/gains.md); the papers' is 1
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
        weight=5.0,  # measured (docs/distillation.md); the paper's are 0.8, and 0.5 for one stage
        options=FeatureMatchingOptions,
    ),
    MethodName.FEATURE_IMITATION: Method(
        title="Neck features under an imitation mask",
        paper="G-DetKD",
        section="Table 6",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        weight=0.1,  # measured (docs/gains.md): with 1 a half-trained student loses
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
        options=InheritingOptions,
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
    MethodName.PKD: Method(
        title="Correlation of neck features, channel by channel",
        paper="PKD",
        section="3.3",
        reads_student=frozenset({Tap.NECK}),
        reads_teacher=frozenset({Tap.NECK}),
        weight=6.0,
        one_stage_weight=10.0,
        options=AdapterOptions,
    ),
    MethodName.DKD: Method(
        title="Scores of the right class and of the others, decoupled",
        paper="DKD",
        section="3.2",
        reads_student=frozenset({Tap.CLASS_LOGITS}),
        reads_teacher=frozenset({Tap.CLASS_LOGITS}),
        students=TWO_STAGE,
        teachers=TWO_STAGE,
        options=DkdOptions,
    ),
    MethodName.DIST: Method(
        title="Correlation of class scores",
        paper="DIST",
        section="3.2, 3.3",
        reads_student=frozenset({Tap.CLASS_LOGITS}),
        reads_teacher=frozenset({Tap.CLASS_LOGITS}),
        students=TWO_STAGE,
        teachers=TWO_STAGE,
        options=DistOptions,
    ),
    MethodName.LD: Method(
        title="Distributions of the distances of boxes' sides",
        paper="LD",
        section="3",
        reads_student=frozenset({Tap.MATCHED_PREDICTIONS, Tap.BOX_DISTRIBUTIONS}),
        reads_teacher=frozenset({Tap.BOX_DISTRIBUTIONS}),
        students=WITH_DISTRIBUTIONS,
        teachers=WITH_DISTRIBUTIONS,
        options=LdOptions,
    ),
    MethodName.CROSSKD: Method(
        title="The teacher's predictions from the student's towers",
        paper="CrossKD",
        section="3.3",
        reads_student=frozenset({Tap.TOWERS}),
        reads_teacher=frozenset({Tap.DENSE_OUTPUTS}),
        students=WITH_TOWERS,
        teachers=WITH_TOWERS,
        options=CrosskdOptions,
    ),
    MethodName.BCKD: Method(
        title="Scores of each class by itself, and boxes, at every place",
        paper="BCKD",
        section="3",
        reads_student=frozenset({Tap.DENSE_OUTPUTS, Tap.MATCHED_PREDICTIONS}),
        reads_teacher=frozenset({Tap.DENSE_OUTPUTS}),
        students=ONE_STAGE,
        teachers=ONE_STAGE,
        options=BckdOptions,
    ),
}


def default_weight(name: MethodName, *, two_stage: bool) -> float:
    """Return the default weight of a method's loss for a two-stage or a one-stage student: the
    published one, unless the catalogue says otherwise."""
    method = CATALOGUE[name]
    if two_stage or method.one_stage_weight is None:
        return method.weight
    return method.one_stage_weight


JOINT_DETNAS = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.CLASSIFICATION,
    MethodName.CLASS_AWARE_LOCALISATION,
)
"""The methods of Joint-DetNAS (docs/papers.md 1.8), which are the default of a search."""
