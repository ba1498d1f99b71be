"""Loads a base detector that is not trained from scratch."""

from dataclasses import replace

from detection.build import Student
from detection.mmdet.checkpoint_import import import_student
from searchd.domain.detector import Detector
from searchd.domain.errors import CheckpointError
from searchd.messages.tasks import LoadedBase


def load_base(base: LoadedBase) -> Student:
    """Load a student from a checkpoint that mmdet wrote.

    Settings that weights do not show (the numbers of proposals) are taken from the search.

    Raises:
        CheckpointError: The checkpoint cannot be imported, or its head differs from the search's.
    """
    mmdet = base.mmdet
    student = import_student(mmdet.config, mmdet.checkpoint, options=mmdet.options)
    found = student.detector
    wanted = base.head.detector(found.architecture, found.num_classes)
    different = [
        f"{name} {expected} in the search, {loaded} in the checkpoint"
        for (name, expected), loaded in zip(
            _weight_settings(wanted).items(), _weight_settings(found).values(), strict=True
        )
        if expected != loaded
    ]
    if different:
        raise CheckpointError(
            f"{mmdet.checkpoint} (config {mmdet.config}) has another head than the search: "
            f"{'; '.join(different)}; set the search's head to the checkpoint's"
        )
    return replace(student, detector=wanted)


def _weight_settings(detector: Detector) -> dict[str, object]:
    """Return what a checkpoint's weights depend on, besides the backbone."""
    two_stage = detector.family.two_stage
    return {
        "family": detector.family.value,
        "neck_channels": detector.neck_channels,
        "head_channels": detector.head_channels if two_stage else None,
        "tower_channels": None if two_stage else detector.tower_channels,
        "tower_convs": None if two_stage else detector.tower_convs,
        "anchor_scale": detector.level_scale,
        "finest_roi_scale": detector.finest_roi_scale if two_stage else None,
    }
