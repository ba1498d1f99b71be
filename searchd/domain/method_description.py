"""What a row of the catalogue of distillation methods consists of. Standard library only."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError


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
        BOX_DISTRIBUTIONS: Distribution over the distance of every side of the box of every anchor.
        TOWERS: Output of every convolution of the two towers of a one-stage head.
        DENSE_OUTPUTS: Class scores and box outputs of a one-stage head on every level.
    """

    NECK = "neck"
    REGION_FEATURES = "region_features"
    REGION_LEVELS = "region_levels"
    EMBEDDINGS = "embeddings"
    CLASS_LOGITS = "class_logits"
    BOX_DELTAS = "box_deltas"
    MATCHED_PREDICTIONS = "matched_predictions"
    BOX_DISTRIBUTIONS = "box_distributions"
    TOWERS = "towers"
    DENSE_OUTPUTS = "dense_outputs"


CELL_BY_CELL = frozenset({Tap.BOX_DISTRIBUTIONS, Tap.DENSE_OUTPUTS})
"""Taps of a teacher that are compared at the student's cells, and need a teacher with these."""


TWO_STAGE = frozenset(family for family in Family if family.two_stage)
ONE_STAGE = frozenset(Family) - TWO_STAGE
ANY = ONE_STAGE | TWO_STAGE
WITH_ANCHORS = ANY - {Family.FCOS}
WITH_TOWERS = ONE_STAGE - {Family.TOOD}
"""Families with a tower for classes and one for boxes. TOOD has one for both."""
WITH_DISTRIBUTIONS = frozenset({Family.GFL})
"""Families that predict a distribution over the distance of each side of a box."""
CLASS_SPECIFIC_BOXES = frozenset({Family.FASTER_RCNN, Family.MASK_RCNN})
"""Families that predict a box for each class. The boxes of Cascade R-CNN are class-agnostic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """A method without options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterOptions:
    """Options of every method whose adapter is a linear map from the student's features to the
    teacher's."""

    start: Literal["least_squares", "random"] = "least_squares"
    """How new adapters start: "least_squares" (default) with the linear map that fits the teacher's
    features best, "random" with random weights. Inherited adapters that fit are not changed."""
    start_images: int = 128
    """Number of training images, at least 1, to which new adapters are fitted and on which the
    teacher's variance is measured before the first step. The default is 128."""

    def __post_init__(self) -> None:
        positive(self, "start_images")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureOptions(AdapterOptions):
    """Options of every method whose loss is a squared difference of features."""

    normalise: Literal["none", "teacher_variance"] = "none"
    """Unit of the loss: "none" (default) is the published loss; "teacher_variance" divides it by
    the variance of this teacher's features, level by level, so that one weight fits all
    teachers."""


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

    @property
    def has_loss(self) -> bool:
        """Whether the method adds a loss. The others change the student before its training."""
        return bool(self.reads_student)


def positive(options: object, *names: str) -> None:
    """Check that options are greater than 0, unless None.

    Args:
        options: The dataclass of the options, from its `__post_init__`.
        names: Names of the options.

    Raises:
        InvalidValueError: One is not.
    """
    _check(options, names, lambda value: value > 0, "must be positive")


def at_least_zero(options: object, *names: str) -> None:
    """Check that options are at least 0, unless None; see `positive`."""
    _check(options, names, lambda value: value >= 0, "must be at least 0")


def fraction(options: object, *names: str) -> None:
    """Check that options are from 0 to 1, unless None; see `positive`."""
    _check(options, names, lambda value: 0 <= value <= 1, "must lie between 0 and 1")


def _check(
    options: object, names: tuple[str, ...], holds: Callable[[float], bool], rule: str
) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not holds(value):
            raise InvalidValueError(f"{name}={value} {rule}")
