"""Exports of detectors: requested, written by a worker, offered once they proved to be equal."""

from collections.abc import Sequence

from pydantic import JsonValue
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, NotFoundError
from searchd.domain.export_formats import PRECISIONS, check_detector
from searchd.domain.lifecycle import ExportStatus, WorkKind, WorkStatus
from searchd.domain.resolution import Resolution
from searchd.domain.teacher import RegisteredTeacher, Teaching
from searchd.domain.trial import Artifact, describe_change
from searchd.messages.exports import ExportMeasurement, ExportReport
from searchd.messages.tasks import Inherited
from searchd.spec import ExportSpec
from searchd.store.base import new_id
from searchd.store.models import (
    DatasetRow,
    ExportRow,
    FinalSplit,
    RunRow,
    TeacherRow,
    TrialRow,
)
from searchd.store.models.measurements import accuracy
from searchd.store.models.resources import NAME_LENGTH
from searchd.store.resources import creation, removal
from searchd.store.runs import retention, split_evaluations, trials
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold, locked


def create(
    session: Session, trial_id: str, spec: ExportSpec, *, owner: str | None = None
) -> ExportRow:
    """Queue an export of a trial's detector.

    Returns:
        The new row; or the one of an earlier request for the same, unless that failed: then it is
        replaced.

    Raises:
        NotFoundError: There is no such trial.
        ConflictError: The trial has no student, its weights were collected, or the same export of
            another owner failed.
        InvalidValueError: The format cannot hold the detector's convolutions or heads.
    """
    trial = trials.get(session, trial_id)
    name = _name(trial.id, spec)
    earlier = session.scalar(select(ExportRow).where(ExportRow.name == name))
    if earlier is not None and earlier.status is not ExportStatus.FAILED:
        return earlier
    if earlier is not None and earlier.owner != owner:
        raise ConflictError(
            f"export {name} of {earlier.owner or 'another owner'} failed: {earlier.status_reason}; "
            "only its owner can try again"
        )
    retention.claim(session, trial.id)
    student = trials.inherited(session, trial.id)
    check_detector(spec.format, student.detector)
    row = ExportRow(
        id=new_id("x"),
        name=name,
        spec=spec,
        owner=owner,
        trial_id=trial.id,
        dataset_id=session.get_one(RunRow, trial.run_id).dataset_id,
        status=ExportStatus.EXPORTING,
    )
    return creation.insert(session, row, WorkKind.EXPORT, "waits to be written")


def get(session: Session, trial_id: str, reference: str) -> ExportRow:
    """Return an export of a trial by id or name.

    Raises:
        NotFoundError: There is no such trial, or it has no such export.
    """
    for row in of_trial(session, trial_id):
        if reference in (row.id, row.name):
            return row
    raise NotFoundError(f"trial {trial_id} has no export {reference!r}")


def find(session: Session, reference: str) -> ExportRow:
    """Return an export of any trial by id or name.

    Raises:
        NotFoundError: There is no such export.
    """
    row = session.scalar(
        select(ExportRow).where(or_(ExportRow.id == reference, ExportRow.name == reference))
    )
    if row is None:
        raise NotFoundError(f"export {reference!r} does not exist")
    return row


def delete(session: Session, row: ExportRow) -> None:
    """Delete an export that does not run. Its files are left to the caller.

    Raises:
        ConflictError: It is being written.
    """
    work = locked(session, queue.of_resource(session, row.id).id)
    session.refresh(row)
    if work.status is WorkStatus.LEASED:
        raise ConflictError(
            f"export {row.name} is being written; wait until it is ready or failed, then delete it"
        )
    removal.delete_rows(session, row)


def of_trial(session: Session, trial_id: str) -> Sequence[ExportRow]:
    """Return the exports of a trial, oldest first.

    Raises:
        NotFoundError: There is no such trial.
    """
    trial = trials.get(session, trial_id)
    return session.scalars(
        select(ExportRow)
        .where(ExportRow.trial_id == trial.id)
        .order_by(ExportRow.created_at, ExportRow.id)
    ).all()


def file(row: ExportRow, name: str) -> Artifact:
    """Return a file of an export.

    Raises:
        ConflictError: The export is not READY.
        NotFoundError: It has no such file.
    """
    if row.report is None:
        raise ConflictError(f"export {row.name} is {row.status}: {row.status_reason}")
    found = {each.name: each for each in row.report.files}
    if name not in found:
        raise NotFoundError(f"export {row.name} has no file {name!r}; it has: {', '.join(found)}")
    return found[name]


def record_report(session: Session, lease: Lease, report: ExportReport) -> ExportRow:
    """Store the result: READY, and the work is done. Failures use `queue.finish`.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(ExportRow, hold(session, lease).resource_id)
    row.report = report
    queue.finish(session, lease, ExportStatus.READY, _described(row.spec, report.measurement))
    return row


def _described(spec: ExportSpec, found: ExportMeasurement) -> str:
    """Return what was measured of an export, in short."""
    exact = PRECISIONS[spec.precision].exact
    compared = "equal to" if exact else "compared with"
    torch = "" if exact else f" ({found.torch_ap:.3f} in torch)"
    kept = f", {' and '.join(found.kept)} in 32 bits" if found.kept else ""
    masks = "" if found.mask_ap is None else f", mask AP {found.mask_ap:.3f}"
    return (
        f"{compared} the detector on {found.num_compared} images; AP {found.ap:.3f}{torch}{masks}"
        f"{kept}, {1000 * found.latency_s:.1f} ms at {found.resolution}"
    )


def subject(session: Session, row: ExportRow) -> tuple[Inherited, Resolution]:
    """Return the student that is exported, and the resolution of its best score.

    Raises:
        ConflictError: It has no student.
        CollectedError: The student was collected.
    """
    student = trials.inherited(session, row.trial_id)
    best = trials.get(session, row.trial_id).best
    assert best is not None  # it has succeeded
    return student, best.resolution


def facts(session: Session, row: ExportRow) -> dict[str, JsonValue]:
    """Return what a model card tells of the origin of an exported detector, by heading."""
    trial = trials.get(session, row.trial_id)
    run = session.get_one(RunRow, trial.run_id)
    dataset = session.get_one(DatasetRow, row.dataset_id)
    assert dataset.summary is not None  # the detector was trained on it
    lineage = trials.ancestors(session, trial.id)
    return {
        "detector": trial.id,
        run.kind: run.name,
        "data set": dataset.name,
        "classes": list(dataset.summary["class_names"]),
        "parameters": trial.params,
        "seed": trial.proposal.seed,
        "seeds": [each.proposal.seed for each in lineage],
        "lineage": [_step(session, each) for each in lineage],
        "measurements": _measurements(session, trial),
    }


def licence(session: Session, row: ExportRow) -> str | None:
    """Return the licence of the weights that an exported detector descends from; None: unknown."""
    return trials.licence(session, trials.ancestors(session, row.trial_id))


def _step(session: Session, trial: TrialRow) -> JsonValue:
    """Return how a trial changed its parent, in words."""
    run = session.get_one(RunRow, trial.run_id)
    taught = "" if trial.teacher is None else f", taught by {_teacher(session, trial.teacher)}"
    taught += "" if trial.methods is None else f" ({trial.methods})"
    ap = "" if trial.best is None else f": AP {trial.best.ap:.3f} at {trial.best.resolution}"
    change = describe_change(trial.proposal.change)
    return f"{run.kind} {run.name}, trial {trial.name}: {change}{taught}{ap}"


def _teacher(session: Session, teacher: Teaching) -> str:
    """Return a teacher in short form, a registered one by its name."""
    if isinstance(teacher, RegisteredTeacher):
        return session.get_one(TeacherRow, teacher.teacher).name
    return str(teacher)


def _measurements(session: Session, trial: TrialRow) -> list[JsonValue]:
    """Return what was measured of a trial, one entry for each resolution and split."""
    tests = split_evaluations.measured(session, trial.run_id, FinalSplit.TEST)
    found: list[JsonValue] = []
    for evaluation in trial.evaluations:
        cost: dict[str, JsonValue] = {
            "resolution": str(evaluation.resolution),
            "macs": evaluation.macs,
        }
        found.append({**cost, "split": "validation", **accuracy(evaluation)})
        if evaluation.id in tests:
            found.append({**cost, "split": "test", **accuracy(tests[evaluation.id])})
    return found


def _name(trial_id: str, spec: ExportSpec) -> str:
    """Return a name such as "s-7f3k2m-12-onnx-fp32-dynamic"; the beginning of the trial's id is
    left out where the name would be too long."""
    ending = f"-{spec.kind}"
    return trial_id[-(NAME_LENGTH - len(ending)) :] + ending
