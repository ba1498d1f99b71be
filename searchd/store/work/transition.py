"""The only writer of statuses."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import AnyStatus, PoolStatus, SearchStatus, TeacherStatus, TrialStatus
from searchd.domain.transitions import check_transition, is_final
from searchd.store import events
from searchd.store.base import now
from searchd.store.models import (
    DatasetRow,
    DeviceRow,
    ExportRow,
    PoolRow,
    RunRow,
    TeacherRow,
    TrialRow,
    WorkRow,
)
from searchd.store.models.resources import Archivable
from searchd.store.work.lease import Lease, hold
from searchd.store.work.messages import tell_end
from searchd.store.work.status_counters import count_trial, count_work

log = logging.getLogger(__name__)

AnyRow = DatasetRow | PoolRow | TeacherRow | ExportRow | DeviceRow | RunRow | TrialRow | WorkRow
_STARTS = (PoolStatus.TRAINING, TeacherStatus.TRAINING, SearchStatus.PREPARING, TrialStatus.RUNNING)


def transition(
    session: Session,
    row: AnyRow,
    to: AnyStatus,
    reason: str,
    *,
    lease: Lease | None = None,
    values: Mapping[str, object] | None = None,
) -> None:
    """Move a row to another status, with the reason and an event, if its status is still the one
    that was read. Work has no events of its own.

    Args:
        session: A writing session.
        row: The row as it was read; it is refreshed.
        to: The new status.
        reason: Why, in words; becomes `status_reason`.
        lease: The caller's lease on the work that serves the resource. Drivers give it.
        values: Further columns to set in the same statement.

    Raises:
        IllegalTransitionError: The transition table does not lead there.
        StaleLeaseError: The lease was lost.
        ConflictError: Another process has changed the status. Nothing was changed.
    """
    if lease is not None:
        hold(session, lease)
    what = f"{row.__tablename__} {row.id}"
    check_transition(what, row.status, to)
    session.flush()
    before, since = row.status, row.updated_at if isinstance(row, WorkRow) else None
    _compare_and_set(
        session, row, what, {"status": to, "status_reason": reason, **(values or {})}, to
    )
    if not isinstance(row, WorkRow):  # its events are those of the resource that it serves
        events.append(session, row, reason, status=to)
    if not isinstance(row, TrialRow):  # its number of events has changed
        session.refresh(row)
    if not isinstance(row, TrialRow | WorkRow):
        tell_end(session, row)
    if isinstance(row, TrialRow):
        count_trial(session, row)
    elif isinstance(row, WorkRow):
        assert since is not None  # every piece of work has one
        count_work(session, row, before, since)
    log.info("%s is %s: %s", what, to, reason, extra=_ids(row))


def _compare_and_set(
    session: Session, row: AnyRow, what: str, values: dict[str, Any], to: AnyStatus
) -> None:
    table = type(row)
    if not isinstance(row, WorkRow):
        values |= _times(row, to)
    statement = update(table).where(table.id == row.id, table.status == row.status)
    if isinstance(row, WorkRow):
        statement = statement.where(WorkRow.lease == row.lease)
    result = session.execute(statement.values(values).execution_options(synchronize_session=False))
    if cast(CursorResult[Any], result).rowcount != 1:
        raise ConflictError(f"{what} is no longer {row.status}; another process changed it")
    for name, value in values.items():
        set_committed_value(row, name, value)


def _times(row: AnyRow, to: AnyStatus) -> dict[str, datetime | None]:
    """Return the new `started_at` (of a trial: of this attempt; else: of the first driver),
    `finished_at` and `archived_at`, as far as they change."""
    times: dict[str, datetime | None] = {}
    is_first = isinstance(row, PoolRow | TeacherRow | RunRow) and row.started_at is None
    if to in _STARTS and (isinstance(row, TrialRow) or is_first):
        times["started_at"] = now()
    if is_final(to) or is_final(row.status):
        times["finished_at"] = now() if is_final(to) else None
    if is_final(row.status) and isinstance(row, Archivable):
        times["archived_at"] = None  # it goes on: a list must show what uses the cluster
    return times


def _ids(row: AnyRow) -> dict[str, str]:
    """Return the ids of the row in the log."""
    match row:
        case TrialRow():
            return {"search": row.run_id, "trial": row.name}
        case RunRow():
            return {"search": row.id}
        case WorkRow():
            return {"work": row.id}
        case _:
            return {}
