"""What users, and the disk guard, ask of a training or a run: pause, resume, cancel, kill.

A user's request always takes precedence: the guard pauses only what a user wants to run, and
resumes only what it paused itself. `WorkRow.desired_by` records who asked.
"""

from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import STOPPABLE, WorkStatus
from searchd.domain.transitions import is_final
from searchd.store import events
from searchd.store.models import Desired, DesiredBy, WorkRow
from searchd.store.models.resources import AnyResource
from searchd.store.work import status_changes
from searchd.store.work.lease import locked
from searchd.store.work.queue import of_resource, resource

LOW_SPACE = "stopped: low disk space; resumes automatically"
"""Why work is paused that the disk guard stopped."""
WAITS_FOR_SPACE = "waits for disk space"
"""Why work is queued that the disk guard stopped."""


def ask_to_pause(session: Session, resource_id: str) -> WorkRow:
    """Record that a user wants a training or a run to stop within a time slice and to resume from
    there later.

    The API alone calls this function and the next three. Each can be repeated: asking twice is the
    same as asking once. A driver that holds the work reads `desired` and stops; without a driver
    the change is made at once.

    Args:
        session: A writing session.
        resource_id: The pool, teacher or run.

    Raises:
        ConflictError: It has ended or is to end, or is a check, which ends by itself. The message
            names the present status.
    """
    return _ask(session, resource_id, Desired.PAUSE)


def ask_to_resume(session: Session, resource_id: str) -> WorkRow:
    """Record that a user wants a training or a run that is paused, or is about to be, to resume.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.RUN)


def ask_to_cancel(session: Session, resource_id: str) -> WorkRow:
    """Record that a user wants a training or a run stopped for good within a time slice.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.CANCEL)


def ask_to_kill(session: Session, resource_id: str) -> WorkRow:
    """Record that a user wants a training or a run stopped for good, without waiting for the
    driver.

    Raises:
        ConflictError: See `ask_to_pause`.
    """
    return _ask(session, resource_id, Desired.KILL)


def pause_for_disk_space(session: Session, work_id: str, low_space: str) -> bool:
    """Pause work that a user wants to run and that a driver holds. For the disk guard alone.

    Args:
        session: A writing session.
        work_id: The work.
        low_space: How much space is free and how much is needed, in words.

    Returns:
        Whether it was paused: False if it is not running, or is already stopping.
    """
    work = locked(session, work_id)
    row = resource(session, work)
    session.refresh(row)
    runs = work.status is WorkStatus.LEASED and work.desired is Desired.RUN
    if not runs or status_changes.is_pausing(work, row):
        return False
    work.desired, work.desired_by = Desired.PAUSE, DesiredBy.DISK_GUARD
    work.status_reason = LOW_SPACE
    events.append(session, row, f"low disk space: {low_space}")
    return True


def resume_after_low_space(session: Session, work_id: str) -> bool:
    """Queue work again that the disk guard paused, once its driver has seen that it is to stop. It
    is admitted when enough space is free.

    Returns:
        Whether it was: False if its driver has not seen the pause yet, or a user has asked since.
    """
    work = locked(session, work_id)
    row = resource(session, work)
    session.refresh(row)
    is_paused_by_guard = work.desired is Desired.PAUSE and work.desired_by is DesiredBy.DISK_GUARD
    has_stopped = work.status is WorkStatus.PAUSED
    if not is_paused_by_guard or not (has_stopped or status_changes.is_pausing(work, row)):
        return False
    # It was a user who wanted it to run before the guard paused it.
    work.desired, work.desired_by = Desired.RUN, DesiredBy.USER
    work.status_reason = WAITS_FOR_SPACE
    if has_stopped:
        status_changes.apply_desired(session, work, row, work.status_reason)
    return True


_VERBS = {
    Desired.RUN: "resume",
    Desired.PAUSE: "pause",
    Desired.CANCEL: "cancel",
    Desired.KILL: "kill",
}
_PARTICIPLES = {
    Desired.RUN: "resumed",
    Desired.PAUSE: "paused",
    Desired.CANCEL: "cancelled",
    Desired.KILL: "killed",
}
_MAY_FOLLOW = {
    Desired.RUN: (Desired.PAUSE, Desired.CANCEL, Desired.KILL),
    # PAUSE: a user pauses what the disk guard has paused.
    Desired.PAUSE: (Desired.PAUSE, Desired.RUN, Desired.CANCEL, Desired.KILL),
    Desired.CANCEL: (Desired.KILL,),
    Desired.KILL: (),
}


def _ask(session: Session, resource_id: str, desired: Desired) -> WorkRow:
    work = locked(session, of_resource(session, resource_id).id)
    row = resource(session, work)
    session.refresh(row)  # it may have ended while we waited for the work's lock
    if _is_granted(work, row, desired):
        return work
    _check_request(work, row, desired)
    work.desired, work.desired_by = desired, DesiredBy.USER
    work.status_reason = f"{_PARTICIPLES[desired]} by a user"
    if work.status is WorkStatus.LEASED:  # its driver carries it out, with this reason
        events.append(session, row, f"a user asked to {_VERBS[desired]}")
    elif work.status is WorkStatus.PAUSED and desired is Desired.PAUSE:  # by the disk guard so far
        row.status_reason = work.status_reason
        events.append(session, row, row.status_reason)
    else:
        status_changes.apply_desired(session, work, row, work.status_reason)
    return work


def _is_granted(work: WorkRow, row: AnyResource, desired: Desired) -> bool:
    """Whether a user has asked for this before, or for something that includes it."""
    if is_final(row.status):
        is_cancelled = work.kind in STOPPABLE and row.status is STOPPABLE[work.kind].cancelled
        return is_cancelled and desired in (Desired.CANCEL, Desired.KILL)
    is_same = desired is work.desired and work.desired_by is DesiredBy.USER
    return is_same or (desired, work.desired) == (Desired.CANCEL, Desired.KILL)


def _check_request(work: WorkRow, row: AnyResource, desired: Desired) -> None:
    cannot = f"cannot be {_PARTICIPLES[desired]}"
    if work.kind not in STOPPABLE:
        raise ConflictError(f"{row.name} {cannot}; its check ends by itself")
    if is_final(row.status):
        raise ConflictError(f"{row.name} is {row.status} already and {cannot}")
    if desired not in _MAY_FOLLOW[work.desired]:
        earlier = _PARTICIPLES[work.desired]
        raise ConflictError(f"{row.name} is {row.status}, is to be {earlier} and {cannot}")
