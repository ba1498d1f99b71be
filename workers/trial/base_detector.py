"""Loads a base detector that is not trained from scratch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detection.build import Student
from detection.class_transfer import are_same, with_classes
from detection.exported_base import read_export
from detection.head_settings import check_head
from detection.mmdet.checkpoint_import import import_detector
from searchd.domain.errors import CheckpointError
from searchd.messages.tasks import LoadedBase


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A base that was loaded, with the classes of the data set."""

    student: Student
    trains: bool
    """Whether it is fine-tuned before it is evaluated."""
    notes: tuple[str, ...]
    """What was read, kept and dropped, in sentences."""


def load_base(base: LoadedBase, class_names: Sequence[str]) -> Loaded:
    """Load a base, and give it the classes of the data set.

    Settings that weights do not show (the numbers of proposals) are taken from the search. New rows
    are drawn from torch's global generator.

    Args:
        base: The source of the base, and the search's head.
        class_names: Names of the data set's classes, in the order of the labels.

    Raises:
        CheckpointError: The detector cannot be imported, its head differs from the search's, or it
            has other classes and must not be fine-tuned.
    """
    student, known, notes = _read(base)
    source = _source(base)
    wanted = base.head.detector(student.detector.architecture, student.detector.num_classes)
    check_head(wanted, student.detector, str(source))
    student = replace(student, detector=wanted)
    num_known = student.detector.num_classes
    if known is None and num_known == len(class_names):
        notes = (
            *notes,
            f"{source} does not name its {num_known} classes: they are taken to be those of the "
            "data set, in the same order",
        )
        return Loaded(student=student, trains=base.fine_tune is True, notes=notes)
    if are_same(known, class_names):
        return Loaded(student=student, trains=base.fine_tune is True, notes=notes)
    if base.fine_tune is False:
        raise CheckpointError(
            f"{source} has {num_known} classes that are not the {len(class_names)} of the data "
            "set, and with fine_tune: false their layers would stay untrained; leave fine_tune out"
        )
    transferred = with_classes(student, known, class_names)
    return Loaded(student=transferred.student, trains=True, notes=(*notes, *transferred.notes))


def _read(base: LoadedBase) -> tuple[Student, tuple[str, ...] | None, tuple[str, ...]]:
    if base.export is not None:
        exported = read_export(base.export)
        return exported.student, exported.class_names, ()
    mmdet = base.mmdet
    assert mmdet is not None  # a loaded base has one source
    imported = import_detector(mmdet.config, mmdet.checkpoint, options=mmdet.options)
    return imported.student, imported.class_names, imported.notes


def _source(base: LoadedBase) -> Path:
    if base.export is not None:
        return base.export
    assert base.mmdet is not None  # a loaded base has one source
    return base.mmdet.checkpoint
