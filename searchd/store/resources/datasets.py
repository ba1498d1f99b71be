"""Data sets: registered, checked, then ready for pools and searches."""

from typing import Any

from sqlalchemy.orm import Session

from searchd.domain.lifecycle import DatasetStatus, WorkKind
from searchd.spec import DatasetSpec
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import DatasetRow
from searchd.store.resources import creation
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold


def create(
    session: Session,
    spec: DatasetSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> DatasetRow:
    """Register a data set and queue its check.

    Raises:
        ConflictError: The name is taken, or the key was used for another body.
    """
    row = creation.repeated(session, DatasetRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    row = DatasetRow(
        id=new_id("d"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
    )
    row.status = DatasetStatus.CHECKING
    return creation.insert(
        session, row, WorkKind.DATASET_CHECK, "waits for its files to be checked"
    )


def get(session: Session, reference: str) -> DatasetRow:
    """Return a data set by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, DatasetRow, "data set", reference)


def page(
    session: Session,
    *,
    status: DatasetStatus | None = None,
    page_size: int = 50,
    page_token: str | None = None,
) -> paging.Page[DatasetRow]:
    """Return one page of data sets, newest first.

    Raises:
        InvalidValueError: `page_size` or `page_token` is illegal.
    """
    return paging.newest_first(session, DatasetRow, status, page_size, page_token)


def record_ready(session: Session, lease: Lease, summary: dict[str, Any]) -> None:
    """Record that every check passed: READY, and the work is done. Failures use `queue.finish`.

    Args:
        session: A writing session.
        lease: The lease on the data set's check.
        summary: Counts of the check as JSON: classes, images and boxes of each split.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(DatasetRow, hold(session, lease).resource_id)
    row.summary = summary
    queue.finish(session, lease, DatasetStatus.READY, "every check passed")
