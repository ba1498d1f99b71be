"""Whether a data set has the masks from which a detector of masks learns."""

from sqlalchemy.orm import Session

from searchd.domain.detector import Family
from searchd.domain.errors import InvalidFieldError
from searchd.spec import DistillationSpec, SearchSpec, TeacherSpec
from searchd.store.models import DatasetRow, ExportRow, PoolRow, RunRow, TeacherRow, TrialRow

_NEEDED = ("train", "validation")
"""Splits that need masks: one is trained on, the other measures mask AP."""


def check(dataset: DatasetRow, family: Family) -> None:
    """Check that a data set has the masks that a family needs, as far as it is known: one that is
    still being checked is looked at again before the work starts.

    Raises:
        InvalidFieldError: An object of the train or validation split has no mask.
    """
    reason = _missing(dataset, family)
    if reason is not None:
        raise InvalidFieldError(("dataset", reason))


def misfit(session: Session, resource: PoolRow | TeacherRow | ExportRow | RunRow) -> str | None:
    """Return why the checked data set of queued work has not the masks that it needs; None if it
    has, or needs none."""
    dataset = session.get_one(DatasetRow, resource.dataset_id)
    origin = None
    if isinstance(resource, RunRow) and resource.origin_id is not None:
        origin = session.get_one(TrialRow, resource.origin_id)
    family = trained_family(resource.spec, origin)
    return None if family is None else _missing(dataset, family)


def trained_family(spec: object, origin: TrialRow | None = None) -> Family | None:
    """Return the family of the detectors that a search, a distillation or a teacher trains; None if
    that is no family of this project.

    Args:
        spec: What is submitted.
        origin: The finished trial whose student a distillation starts from, if it does.
    """
    if isinstance(spec, SearchSpec):
        return spec.head.family
    if isinstance(spec, DistillationSpec):
        student = None if origin is None else origin.detector
        return spec.head.family if student is None else student.family
    if isinstance(spec, TeacherSpec) and spec.train is not None and spec.train.mmdet is None:
        return spec.train.head.family
    return None


def _missing(dataset: DatasetRow, family: Family) -> str | None:
    if not family.has_masks or dataset.summary is None:
        return None
    splits = (dataset.summary.get("statistics") or {}).get("splits", {})
    for name in _NEEDED:
        found = splits.get(name, {})
        if "masks" not in found:
            return (
                f"data set {dataset.name!r} was checked by a version that read no masks, from "
                f"which {family} learns; check it again: searchd dataset recheck {dataset.name}"
            )
        missing = found["objects"] - found["masks"]
        if missing:
            return (
                f"data set {dataset.name!r} has no mask of {missing} of the {found['objects']} "
                f"objects of its {name} split, from which {family} learns; add their segmentation "
                f"and check it again (searchd dataset recheck {dataset.name}), or choose a family "
                f"of boxes, such as {Family.FASTER_RCNN}"
            )
    return None
