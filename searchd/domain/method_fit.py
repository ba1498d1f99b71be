"""Whether a distillation method fits a student and a teacher. Standard library only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from searchd.domain.detector import Detector, Family
from searchd.domain.distillation_methods import CATALOGUE, FeatureImitationOptions, MethodName
from searchd.domain.errors import InvalidValueError
from searchd.domain.head_geometry import HeadGeometry, difference, geometry
from searchd.domain.method_description import CELL_BY_CELL, WITH_ANCHORS, Tap
from searchd.domain.method_options import CrosskdOptions
from searchd.domain.resolution import Resolution

_READ_BY = {
    "other_scores": Tap.CLASS_LOGITS,
    "class_agnostic": Tap.BOX_DELTAS,
    "roi_units": Tap.BOX_DELTAS,
    "region_size": Tap.REGION_FEATURES,
    "largest_distance": Tap.BOX_DISTRIBUTIONS,
}
"""The parts of a head's geometry that must be equal, and the tap of the teacher that needs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The properties of a detector, or of all subnets of a pool, that decide which methods fit."""

    family: Family
    neck_channels: tuple[int, ...]
    """Widths that the neck can have: one for a detector, one or more for a pool."""
    head: tuple[int, ...] | None
    """The numbers that determine the head's shapes, apart from classes and neck. Empty: it has
    layers that no student has. None: not known."""
    anchor_scale: float | None
    """`Detector.level_scale`. None: not known, or the anchors have no such scale."""
    geometry: HeadGeometry | None = None
    """What the head's numbers mean. None: not known."""
    strides: tuple[int, ...] | None = None
    """Strides of the neck's levels in pixels of the input. None: not known."""


def traits(detector: Detector, *, neck_channels: Iterable[int] | None = None) -> Traits:
    """Return the traits of a detector, or of a pool where its neck widths are given."""
    return Traits(
        family=detector.family,
        neck_channels=tuple(neck_channels or (detector.neck_channels,)),
        head=detector.head_shape,
        anchor_scale=detector.level_scale,
        geometry=geometry(detector),
        strides=detector.strides,
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
    if method.same_head and teacher.geometry is None:
        return (
            f"{name} copies the teacher's head, and what its numbers mean is not known, since an "
            "earlier version evaluated it: register the teacher again"
        )
    return (
        _unknown_head(name, teacher, options)
        or _apart(name, student, teacher)
        or _at_other_places(name, student, teacher)
        or _misread(name, student, teacher)
    )


def _unknown_head(name: MethodName, teacher: Traits, options: object) -> str | None:
    """Return why a method cannot read, or continue in, the one-stage head of a teacher."""
    if Tap.DENSE_OUTPUTS not in CATALOGUE[name].reads_teacher or teacher.head is None:
        return None
    if not teacher.head:
        return (
            f"{name} reads all predictions of a one-stage head, and the teacher's head has other "
            "layers than the detectors that are searched"
        )
    convs = teacher.head[1]
    if isinstance(options, CrosskdOptions) and options.teacher_convs > convs:
        return (
            f"{name} with teacher_convs={options.teacher_convs} needs a teacher whose towers have "
            f"as many convolutions, and this one has {convs}"
        )
    return None


def _apart(name: MethodName, student: Traits, teacher: Traits) -> str | None:
    """Return why a method finds no levels of the two necks to compare or to copy."""
    method, ours, theirs = CATALOGUE[name], student.strides, teacher.strides
    if ours is None or theirs is None:
        return None
    if method.same_head and ours != theirs:
        return (
            f"{name} needs a teacher with the levels of the student's neck: the student has "
            f"{_levels(ours)}, the teacher {_levels(theirs)}"
        )
    if CELL_BY_CELL & method.reads_teacher and ours != theirs:
        return (
            f"{name} compares predictions cell by cell, on the levels of the student's neck: the "
            f"student has {_levels(ours)}, the teacher {_levels(theirs)}"
        )
    if Tap.NECK in method.reads_teacher and not set(ours) & set(theirs):
        return (
            f"{name} compares levels that both necks have: the student has {_levels(ours)}, the "
            f"teacher {_levels(theirs)}"
        )
    return None


def _at_other_places(name: MethodName, student: Traits, teacher: Traits) -> str | None:
    """Return why what two one-stage heads predict cannot be compared place by place: cells with
    several anchors must have the same ones."""
    ours, theirs = student.geometry, teacher.geometry
    if Tap.DENSE_OUTPUTS not in CATALOGUE[name].reads_student or ours is None or theirs is None:
        return None
    levels = len(student.strides or ())
    if ours.anchors == theirs.anchors or {len(ours.anchors), len(theirs.anchors)} <= {0, levels}:
        return None
    apart = difference(ours, theirs, "anchors")
    return (
        f"{name} compares predictions place by place, and needs a teacher with the student's "
        f"anchors, or both with one anchor or point in a cell; {apart}"
    )


def _misread(name: MethodName, student: Traits, teacher: Traits) -> str | None:
    """Return why a method cannot compare what two heads of fitting kinds predict."""
    reads = CATALOGUE[name].reads_teacher
    if CATALOGUE[name].same_head:
        parts = tuple(each.name for each in fields(HeadGeometry))
    else:
        parts = tuple(part for part, tap in _READ_BY.items() if tap in reads)
    found = difference(student.geometry, teacher.geometry, *parts) if parts else None
    return None if found is None else f"{name} needs a teacher whose head means the same; {found}"


def fitting(student: Traits, teacher: Traits | None = None) -> tuple[MethodName, ...]:
    """Return the methods that fit a student and a teacher. None: any teacher."""
    return tuple(name for name in MethodName if misfit(name, student, teacher) is None)


def check_fit(
    methods: Mapping[MethodName, object],
    student: Traits,
    teacher: Traits | None = None,
    *,
    whose: str = "",
) -> None:
    """Check that every method fits a student and a teacher.

    Args:
        methods: The methods' options, by name.
        student: Traits of the student.
        teacher: Traits of the teacher. None: not known yet; only the student is checked.
        whose: The teacher in words, with which the message starts, such as "teacher 'swin'".

    Raises:
        InvalidValueError: A method does not fit. The message names teacher and method, says what
            differs, and lists the methods that fit.
    """
    prefix, pair = f"{whose}: " if whose else "", "student" if teacher is None else "pair"
    for name, options in methods.items():
        reason = misfit(name, student, teacher, options)
        if reason is not None:
            known = ", ".join(fitting(student, teacher))
            raise InvalidValueError(f"{prefix}{reason}; what fits this {pair}: {known}")


def _needs_anchors(options: object) -> bool:
    return isinstance(options, FeatureImitationOptions) and options.mask == "anchor"


def _same_head(student: Traits, teacher: Traits) -> bool:
    return (
        student.family is teacher.family
        and teacher.head in (None, student.head)
        and teacher.anchor_scale in (None, student.anchor_scale)
        and student.neck_channels == teacher.neck_channels
    )


def _head(side: Traits) -> str:
    necks = " or ".join(map(str, side.neck_channels))
    if side.head is None or side.anchor_scale is None:
        return f"{side.family} with neck {necks}"
    head = "x".join(map(str, side.head))
    return f"{side.family} with neck {necks}, head {head} and anchor scale {side.anchor_scale:g}"


def _levels(strides: tuple[int, ...]) -> str:
    return f"{len(strides)}, at strides {', '.join(map(str, strides))}"


def _listed(families: Iterable[Family]) -> str:
    return " or ".join(sorted(families))


def check_grid(
    methods: Iterable[MethodName], sizes: Iterable[Resolution], teachers: Resolution | None
) -> None:
    """Check that methods which compare predictions cell by cell find the same cells on both sides.

    Args:
        methods: The methods.
        sizes: Resolutions at which the student is trained.
        teachers: Resolution at which the teachers see its images. None: the student's.

    Raises:
        InvalidValueError: A method does, and the teachers see the images at another size.
    """
    others = [size for size in sizes if size != teachers] if teachers is not None else []
    for name in methods:
        if others and CELL_BY_CELL & CATALOGUE[name].reads_teacher:
            raise InvalidValueError(
                f"{name} compares predictions cell by cell, and with teacher_resolution={teachers} "
                f"the teacher has other cells than a student at {others[0]}; leave it out"
            )


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
