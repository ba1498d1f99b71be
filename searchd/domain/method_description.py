"""What a row of the catalogue of distillation methods consists of. Standard library only."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError


class Tap(StrEnum):
    """A place of a detector that a method reads (docs/papers.md 0.2).

    Regions are the boxes on which both sides are compared, and always the student's: the proposals
    that a two-stage student sampled, or boxes sampled from a one-stage student's predictions.

    Attributes:
        NECK: Every level of the neck's output.
        REGION_FEATURES: RoIAlign features of the compared regions, each from its own level.
        REGION_LEVELS: The same from every level.
        EMBEDDINGS: What the output layer reads, of all regions.
        CLASS_LOGITS: Of all regions.
        BOX_DELTAS: Of all regions, for each class, as the head puts them out.
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


ONE_STAGE = frozenset({Family.RETINANET, Family.FCOS})
TWO_STAGE = frozenset({Family.FASTER_RCNN, Family.CASCADE_RCNN})
ANY = ONE_STAGE | TWO_STAGE
WITH_ANCHORS = ANY - {Family.FCOS}
CLASS_SPECIFIC_BOXES = frozenset({Family.FASTER_RCNN})
"""Families that predict a box for each class; a cascade's are class-agnostic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """The method has nothing to choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What a method is and what it needs of the pair."""

    title: str
    paper: str
    section: str
    reads_student: frozenset[Tap] = frozenset()
    reads_teacher: frozenset[Tap] = frozenset()
    students: frozenset[Family] = ANY
    """Families that it can teach."""
    teachers: frozenset[Family] = ANY
    """Families that can teach by it."""
    same_head: bool = False
    """Whether the teacher's head must have the shapes of the student's."""
    weight: float = 1.0
    """Default weight of its loss."""
    one_stage_weight: float | None = None
    """The same for one-stage students, where it differs."""
    options: type[Any] = NoOptions
    """Dataclass of its options."""


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
