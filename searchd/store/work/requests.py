"""What users ask of a pool or a run: pause, resume, cancel, kill."""

from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import STOPPABLE, WorkStatus, is_final
from searchd.store import events
from searchd.store.models import (
    DatasetRow,
    Desired,
    TeacherRow,
    WorkRow,
)
from searchd.store.models.resources import AnyResource
from searchd.store.work import status_changes
from searchd.store.work.lease import locked
from searchd.store.work.queue import of_resource, resource

VERBS = {
    Desired.RUN: "resume",
    Desired.PAUSE: "pause",
    Desired.CANCEL: "cancel",
    Desired.KILL: "kill",
}
"""How users ask for what they want."""


def ask_to_pause(session: Session, resource_id: str, message: str = "") -> WorkRow:
    """A user wants a pool or a run to stop within a time slice, and to go on from there later.

    Like the others below for the API alone, and the same however often it is asked. What a driver
    carries out is told to it by `desired`; what no driver holds is moved at once.

    Args:
        session: A writing session.
        resource_id: What is to be paused.
        message: What is written down, where no user asks but the guard of disk space.

    Raises:
        ConflictError: It has ended or is to end, or is a check, which ends by itself. The message
            names the present status.
    """
    return _ask(session, resource_id, Desired.PAUSE, message)


def ask_to_resume(session: Session, resource_id: str, message: str = "") -> WorkRow:
    """A user wants what is paused, or is about to be, to go on.

    Args:
        session: A writing session.
        resource_id: What is to go on.
        message: See `ask_to_pause`.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.RUN, message)


def ask_to_cancel(session: Session, resource_id: str) -> WorkRow:
    """A user wants a pool or a run stopped for good within a time slice.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.CANCEL)


def ask_to_kill(session: Session, resource_id: str) -> WorkRow:
    """A user wants a pool or a run stopped for good without waiting for anybody.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.KILL)


_PARTICIPLES = {
    Desired.RUN: "resumed",
    Desired.PAUSE: "paused",
    Desired.CANCEL: "cancelled",
    Desired.KILL: "killed",
}
_MAY_FOLLOW = {
    Desired.RUN: (Desired.PAUSE, Desired.CANCEL, Desired.KILL),
    Desired.PAUSE: (Desired.RUN, Desired.CANCEL, Desired.KILL),
    Desired.CANCEL: (Desired.KILL,),
    Desired.KILL: (),
}


def _ask(session: Session, resource_id: str, desired: Desired, message: str = "") -> WorkRow:
    work = locked(session, of_resource(session, resource_id).id)
    row = resource(session, work)
    session.refresh(row)  # it may have ended while we waited for the work's lock
    if _is_granted(work, row, desired):
        return work
    _check_request(work, row, desired)
    work.desired = desired
    message = message or f"a user asked to {VERBS[desired]}"
    if work.status is WorkStatus.LEASED:
        work.status_reason = message  # for whoever carries it out
        events.append(session, row, message)
    else:
        status_changes.apply_desired(session, work, row, message)
    return work


def _is_granted(work: WorkRow, row: AnyResource, desired: Desired) -> bool:
    """Whether it was asked before, or comes to the same as what was."""
    if is_final(row.status):
        is_cancelled = work.kind in STOPPABLE and row.status is STOPPABLE[work.kind].cancelled
        return is_cancelled and desired in (Desired.CANCEL, Desired.KILL)
    return desired is work.desired or (desired, work.desired) == (Desired.CANCEL, Desired.KILL)


def _check_request(work: WorkRow, row: AnyResource, desired: Desired) -> None:
    cannot = f"cannot be {_PARTICIPLES[desired]}"
    if isinstance(row, DatasetRow | TeacherRow):
        raise ConflictError(f"{row.name} {cannot}; its check ends by itself")
    if is_final(row.status):
        raise ConflictError(f"{row.name} is {row.status} already and {cannot}")
    if desired not in _MAY_FOLLOW[work.desired]:
        earlier = _PARTICIPLES[work.desired]
        raise ConflictError(f"{row.name} is {row.status}, is to be {earlier} and {cannot}")
