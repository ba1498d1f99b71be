"""References of a new resource: its spec names data sets, pools, teachers and devices that must
exist and may not have failed."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from searchd.domain.accuracy import ApKind
from searchd.domain.detector import Family
from searchd.domain.errors import ConflictError, InvalidFieldError
from searchd.domain.lifecycle import DatasetStatus, DeviceStatus, PoolStatus, TeacherStatus
from searchd.domain.suggestions import suggestion
from searchd.spec import ScoreSpec
from searchd.store.models import DatasetRow, DeviceRow, PoolRow, TeacherRow


def dataset(session: Session, name: str) -> DatasetRow:
    """Return the data set of this name, which is given in the field `dataset` of a spec.

    Raises:
        InvalidFieldError: There is no data set of this name.
        ConflictError: It has failed its check, so nothing can use it.
    """
    row = session.scalar(select(DatasetRow).where(DatasetRow.name == name))
    if row is None:
        hint = _near(session, DatasetRow, name) or "register it first"
        raise InvalidFieldError(("dataset", f"data set {name!r} does not exist; {hint}"))
    if row.status is DatasetStatus.FAILED:
        raise ConflictError(f"data set {name!r} failed its check: {row.status_reason}")
    return row


def pool(session: Session, name: str, field: str = "pool") -> PoolRow:
    """Return the pool of this name, which is given in a field of a spec.

    Raises:
        InvalidFieldError: There is no pool of this name.
        ConflictError: It has failed or was cancelled, so nothing can use it.
    """
    row = session.scalar(select(PoolRow).where(PoolRow.name == name))
    if row is None:
        hint = _near(session, PoolRow, name) or "create it first"
        raise InvalidFieldError((field, f"pool {name!r} does not exist; {hint}"))
    if row.status in (PoolStatus.FAILED, PoolStatus.CANCELLING, PoolStatus.CANCELLED):
        raise ConflictError(f"pool {name!r} is {row.status}: {row.status_reason}")
    return row


def teacher(session: Session, name: str, dataset: str, field: str) -> TeacherRow:
    """Return the teacher of this name, which is given in a field of a spec.

    Raises:
        InvalidFieldError: There is no teacher of this name, or it belongs to another data set.
        ConflictError: It has failed or was cancelled, so nothing can use it.
    """
    row = session.scalar(select(TeacherRow).where(TeacherRow.name == name))
    if row is None:
        hint = _near(session, TeacherRow, name) or "register it first"
        raise InvalidFieldError((field, f"teacher {name!r} does not exist; {hint}"))
    if row.spec.dataset != dataset:
        reason = (
            f"teacher {name!r} belongs to data set {row.spec.dataset!r}, not {dataset!r}; teacher "
            "and student must know the same classes"
        )
        raise InvalidFieldError((field, reason))
    if row.status is TeacherStatus.FAILED:
        raise ConflictError(f"teacher {name!r} has failed: {row.status_reason}")
    if row.status in (TeacherStatus.CANCELLING, TeacherStatus.CANCELLED):
        raise ConflictError(f"teacher {name!r} is {row.status}: {row.status_reason}")
    return row


def check_accuracy(score: ScoreSpec, family: Family) -> None:
    """Check that detectors of a family have the AP that a score is of.

    Raises:
        InvalidFieldError: It is mask AP, and they find boxes alone.
    """
    if score.accuracy is ApKind.MASK_AP and not family.has_masks:
        able = " or ".join(each for each in Family if each.has_masks)
        reason = (
            f"{score.accuracy} needs detectors that find masks, and {family} finds boxes alone; "
            f"use {able}, or accuracy: {ApKind.BOX_AP}"
        )
        raise InvalidFieldError(("score.accuracy", reason))


def check_device(session: Session, score: ScoreSpec, family: Family) -> None:
    """Check that the device of a score, if it names one, can predict the latency of a family.

    Raises:
        InvalidFieldError: There is no device of this name, or its table lacks the family.
        ConflictError: It has no table, because it is still measured or has failed.
    """
    name = score.device
    if name is None:
        return
    row = session.scalar(select(DeviceRow).where(DeviceRow.name == name))
    if row is None:
        near = _near(session, DeviceRow, name)
        hint = near or f"register it first: searchd device add {name}"
        raise InvalidFieldError(("score.device", f"device {name!r} does not exist; {hint}"))
    if row.report is None:
        wait = "wait until it is ready" if row.status is DeviceStatus.MEASURING else "add it again"
        raise ConflictError(
            f"device {name!r} is {row.status} and has no lookup table ({row.status_reason}); {wait}"
        )
    if family not in row.report.table.families:
        known = ", ".join(row.report.table.families)
        reason = (
            f"device {name!r} was measured with detectors of {known}, not of {family}; register a "
            f"device with --family {family}"
        )
        raise InvalidFieldError(("score.device", reason))


def _near(
    session: Session,
    table: type[DatasetRow] | type[PoolRow] | type[TeacherRow] | type[DeviceRow],
    name: str,
) -> str | None:
    """Return which name was probably meant; None if none is near."""
    found = suggestion(name, session.scalars(select(table.name)))
    return None if found is None else f"did you mean {found}?"
