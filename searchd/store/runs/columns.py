"""All trials of a run in few columns, read without building their domain values: a page that plots
ten thousand trials needs neither their architectures nor their tasks. Changes, teachers and methods
stay JSON text, of which there are few different ones; roles, statuses and causes stay text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, String, or_, select, type_coerce
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import TrialStatus
from searchd.store.models import BreakdownRow, EvaluationRow, EventRow, RunRow, TrialRow

_PROPOSAL = type_coerce(TrialRow.proposal, JSON)
_TRIAL = (
    TrialRow.name,
    type_coerce(TrialRow.role, String).label("role"),
    TrialRow.parent_id,
    _PROPOSAL["change"].as_string().label("change"),
    _PROPOSAL["change", "kind"].as_string().label("action"),
    _PROPOSAL["teacher"].as_string().label("teacher"),
    _PROPOSAL["methods"].as_string().label("methods"),
    type_coerce(TrialRow.chosen_teacher, JSON).label("chosen_teacher"),
    type_coerce(TrialRow.status, String).label("status"),
    TrialRow.status_reason,
    type_coerce(TrialRow.cause, String).label("cause"),
    TrialRow.completion,
    TrialRow.score,
    TrialRow.params,
    type_coerce(TrialRow.checks, JSON)["teacher_ap"].as_float().label("teacher_ap"),
    type_coerce(TrialRow.progress, JSON).label("progress"),
    TrialRow.busy_s,
)
_EVALUATION = (
    TrialRow.name,
    EvaluationRow.width,
    EvaluationRow.height,
    EvaluationRow.score,
    EvaluationRow.ap,
    EvaluationRow.ap50,
    EvaluationRow.ap75,
    EvaluationRow.mask_ap,
    EvaluationRow.macs,
    EvaluationRow.latency_s,
    EvaluationRow.cost,
    EvaluationRow.device_latency_s,
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of trials and of their evaluations."""

    event: int
    """Number of the last event of the run that the rows include."""
    trials: Sequence[Any]
    """Rows with the columns of `_TRIAL`."""
    evaluations: Sequence[Any]
    """Rows with the columns of `_EVALUATION`, and `class_aps` if they were wanted."""


def read(session: Session, run_id: str, since: int = 0, *, class_aps: bool = False) -> Columns:
    """Return the trials of a run that have an event after event `since`, and those that run, in the
    order they were proposed; with `since=0`, all. `class_aps`: with the APs of classes."""
    event = session.get_one(RunRow, run_id).num_events  # first: rows may be newer, never older
    wanted = [TrialRow.run_id == run_id, *([_changed(run_id, since)] if since else [])]
    trials = select(*_TRIAL).where(*wanted).order_by(TrialRow.position)
    evaluations = (
        select(*_EVALUATION)
        .join(TrialRow, EvaluationRow.trial_id == TrialRow.id)
        .where(*wanted)
        .order_by(TrialRow.position, EvaluationRow.id)
    )
    if class_aps:
        evaluations = evaluations.add_columns(BreakdownRow.class_aps).outerjoin(BreakdownRow)
    return Columns(event, session.execute(trials).all(), session.execute(evaluations).all())


def _changed(run_id: str, since: int) -> ColumnElement[bool]:
    subjects = select(EventRow.subject).where(
        EventRow.resource_id == run_id, EventRow.number > since
    )
    return or_(TrialRow.status == TrialStatus.RUNNING, TrialRow.id.in_(subjects))
