"""The catalogue of distillation methods and their requirements. Standard library only.

A spec names methods of this catalogue; `detection.distillation` computes them. A method that does
not fit the student or the teacher is refused when the spec is submitted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from searchd.domain.detector import Detector, Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import (
    CkdOptions,
    CwdOptions,
    DicodClassificationOptions,
    DicodLocalisationOptions,
    FeatureImitationOptions,
    FeatureMatchingOptions,
    FgdOptions,
    IcdOptions,
    MgdOptions,
    NoOptions,
    ProposalFeatureOptions,
    SgfiOptions,
)


class Tap(StrEnum):
    """A place in a detector whose output a method reads (docs/papers.md 0.2).

    Student and teacher are compared on regions, which always come from the student: the proposals
    that a two-stage student sampled, or boxes sampled from a one-stage student's predictions.

    Attributes:
        NECK: Every level of the neck's output.
        REGION_FEATURES: RoIAlign features of every region, from the level of its size.
        REGION_LEVELS: RoIAlign features of every region, from every level.
        EMBEDDINGS: Input of the classification layer for every region.
        CLASS_LOGITS: Class logits of every region.
        BOX_DELTAS: Encoded box deltas of every region and class, as the head outputs them.
        MATCHED_PREDICTIONS: Class logits and decoded boxes of every anchor, point or proposal that
            is assigned to an object.
    """

    NECK = "neck"
    REGION_FEATURES = "region_features"
    REGION_LEVELS = "region_levels"
    EMBEDDINGS = "embeddings"
    CLASS_LOGITS = "class_logits"
    BOX_DELTAS = "box_deltas"
    MATCHED_PREDICTIONS = "matched_predictions"


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


ONE_STAGE = frozenset({Family.RETINANET, Family.FCOS})
TWO_STAGE = frozenset({Family.FASTER_RCNN, Family.CASCADE_RCNN})
ANY = ONE_STAGE | TWO_STAGE
WITH_ANCHORS = ANY - {Family.FCOS}
CLASS_SPECIFIC_BOXES = frozenset({Family.FASTER_RCNN})
"""Families that predict a box for each class. The boxes of Cascade R-CNN are class-agnostic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A distillation method and its requirements on student and teacher."""

    title: str
    """Short description for lists."""
    paper: str
    """Short names of the papers that define it."""
    section: str
    """Sections of those papers."""
    reads_student: frozenset[Tap] = frozenset()
    """Outputs of the student that the method reads."""
    reads_teacher: frozenset[Tap] = frozenset()
    """Outputs of the teacher that the method reads."""
    students: frozenset[Family] = ANY
    """Families of students that the method supports."""
    teachers: frozenset[Family] = ANY
    """Families of teachers that the method supports."""
    same_head: bool = False
    """Whether the teacher's head must have the same shapes as the student's."""
    weight: float = 1.0
    """Default weight of the method's loss."""
    one_stage_weight: float | None = None
    """Default weight for one-stage students. None: `weight`."""
    options: type[Any] = NoOptions
    """Dataclass of the method's options."""


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
    """Return the published weight of a method's loss for a two-stage or a one-stage student."""
    method = CATALOGUE[name]
    if two_stage or method.one_stage_weight is None:
        return method.weight
    return method.one_stage_weight


def check_average(methods: Iterable[MethodName]) -> None:
    """Check that every method can distil from averaged teacher features (MTPD, appendix E).

    Raises:
        InvalidValueError: A method other than feature matching is named.
    """
    for name in methods:
        if name is not MethodName.FEATURE_MATCHING:
            raise InvalidValueError(
                f"{name} cannot teach by average_features, only feature_matching can; use "
                "mean_of_losses"
            )


JOINT_DETNAS = (
    MethodName.PROPOSAL_FEATURE,
    MethodName.CLASSIFICATION,
    MethodName.CLASS_AWARE_LOCALISATION,
)
"""The methods of Joint-DetNAS (docs/papers.md 1.8), which are the default of a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The properties of a detector, or of all subnets of a pool, that decide which methods fit."""

    family: Family
    neck_channels: tuple[int, ...]
    """Widths that the neck can have: one for a detector, one or more for a pool."""
    head: tuple[int, ...]
    """The numbers that determine the head's shapes, apart from classes and neck."""
    anchor_scale: float
    """`Detector.level_scale`, on which the meaning of box deltas depends."""


def traits(detector: Detector, *, neck_channels: Iterable[int] | None = None) -> Traits:
    """Return the traits of a detector, or of a pool where its neck widths are given."""
    return Traits(
        family=detector.family,
        neck_channels=tuple(neck_channels or (detector.neck_channels,)),
        head=detector.head_shape,
        anchor_scale=detector.level_scale,
    )


def misfit(
    name: MethodName, student: Traits, teacher: Traits | None = None, options: object = None
) -> str | None:
    """Return why a method does not fit a student and a teacher, or None if it fits.

    Args:
        name: The method.
        student: Traits of the student.
        teacher: Traits of the teacher. None: only the student is checked.
        options: The method's options. None: the defaults.
    """
    method = CATALOGUE[name]
    if student.family not in method.students:
        return f"{name} teaches {_listed(method.students)} students, not {student.family}"
    if _needs_anchors(options) and student.family not in WITH_ANCHORS:
        return (
            f"{name} with mask=anchor teaches {_listed(WITH_ANCHORS)} students, not "
            f"{student.family}, which has no anchors"
        )
    if teacher is None:
        return None
    if teacher.family not in method.teachers:
        return (
            f"{name} needs a {_listed(method.teachers)} teacher for a {student.family} student, "
            f"and this one is {teacher.family}"
        )
    if method.same_head and not _same_head(student, teacher):
        return (
            f"{name} needs a teacher with the student's head, and with its neck width alone: the "
            f"student is {_head(student)}, the teacher {_head(teacher)}"
        )
    return None


def fitting(student: Traits, teacher: Traits | None = None) -> tuple[MethodName, ...]:
    """Return the methods that fit a student and a teacher. None: any teacher."""
    return tuple(name for name in MethodName if misfit(name, student, teacher) is None)


def check_fit(
    methods: Mapping[MethodName, object], student: Traits, teacher: Traits | None = None
) -> None:
    """Check that every method fits a student and a teacher.

    Args:
        methods: The methods' options, by name.
        student: Traits of the student.
        teacher: Traits of the teacher. None: not known yet; only the student is checked.

    Raises:
        InvalidValueError: A method does not fit. The message names student and teacher and lists
            the methods that fit.
    """
    for name, options in methods.items():
        reason = misfit(name, student, teacher, options)
        if reason is not None:
            raise InvalidValueError(
                f"{reason}; what fits {'this student' if teacher is None else 'this pair'}: "
                f"{', '.join(fitting(student, teacher))}"
            )


def _needs_anchors(options: object) -> bool:
    return isinstance(options, FeatureImitationOptions) and options.mask == "anchor"


def _same_head(student: Traits, teacher: Traits) -> bool:
    return (
        student.family is teacher.family
        and student.head == teacher.head
        and student.anchor_scale == teacher.anchor_scale
        and student.neck_channels == teacher.neck_channels
    )


def _head(side: Traits) -> str:
    necks = " or ".join(map(str, side.neck_channels))
    head = "x".join(map(str, side.head))
    return f"{side.family} with neck {necks}, head {head} and anchor scale {side.anchor_scale:g}"


def _listed(families: Iterable[Family]) -> str:
    return " or ".join(sorted(families))
