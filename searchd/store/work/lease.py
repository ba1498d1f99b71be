"""The lease on a piece of work: the right of one driver to write its results."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from searchd.domain.errors import NotFoundError, StaleLeaseError
from searchd.domain.lifecycle import WorkStatus
from searchd.store.models import WorkRow


class _Locked(NamedTuple):
    """The work that a transaction has locked."""

    transaction: object
    rows: Mapping[str, WorkRow]


_LOCKED = "locked work"
"""Its key in `Session.info`."""
_LOCK = (
    select(WorkRow)
    .where(WorkRow.id == bindparam("id"))
    .with_for_update()
    .execution_options(populate_existing=True)
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to carry out a piece of work, until it is requeued or a later lease is granted."""

    work_id: str
    number: int


def hold(session: Session, lease: Lease) -> WorkRow:
    """Return the row of the work, locked until the transaction ends, so that the lease stays valid.

    Raises:
        StaleLeaseError: The lease was lost: the work was requeued, finished, or leased again.
    """
    work = lock(session, lease)
    if work.status is not WorkStatus.LEASED:
        raise StaleLeaseError(
            f"lease {lease.number} on {lease.work_id} was lost: the work is {work.status}"
        )
    return work


def lock(session: Session, lease: Lease) -> WorkRow:
    """Like `hold`, but the lease may have ended, if no later one was granted.

    Raises:
        StaleLeaseError: A later lease was granted.
    """
    work = locked(session, lease.work_id)
    if work.lease != lease.number:
        raise StaleLeaseError(
            f"lease {lease.number} on {lease.work_id} was lost: lease {work.lease} was granted"
        )
    return work


def locked(session: Session, work_id: str) -> WorkRow:
    """Return the present row of the work, locked until the transaction ends. It is read once in a
    transaction: nobody else can change it then.

    Raises:
        NotFoundError: There is no such work.
    """
    known: _Locked = session.info.get(_LOCKED, _Locked(None, {}))
    if known.transaction is session.get_transaction() and work_id in known.rows:
        return known.rows[work_id]
    work = session.scalar(_LOCK, {"id": work_id})
    if work is None:
        raise NotFoundError(f"work {work_id} does not exist")
    transaction = session.get_transaction()
    rows = known.rows if known.transaction is transaction else {}
    session.info[_LOCKED] = _Locked(transaction, {**rows, work_id: work})
    return work
