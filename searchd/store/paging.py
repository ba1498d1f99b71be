"""Pagination by cursor: a page starts after the last item of the previous page, so that no item is
skipped or repeated while items are added."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import BindParameter, ColumnElement, Select, bindparam, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session, load_only

from searchd.domain.errors import InvalidValueError, NotFoundError
from searchd.domain.suggestions import did_you_mean
from searchd.store.models.resources import (
    Archivable,
    DatasetRow,
    DeviceRow,
    DistillationRow,
    ExportRow,
    PoolRow,
    SearchRow,
    TeacherRow,
)

MAX_PAGE_SIZE = 500
Sort = Literal["created_at", "-created_at", "name", "-name", "status", "-status"]
"""The field that a list is sorted by; with "-", in descending order."""
T = TypeVar("T")
R = TypeVar("R", DatasetRow, PoolRow, TeacherRow, ExportRow, DeviceRow, SearchRow, DistillationRow)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: list[T]
    next_page_token: str | None
    """Token for the next page; None on the last one."""


@dataclass(frozen=True, slots=True)
class RunKey:
    """A run, and how far its log of events has come: while it has no further event, what is shown
    of it stays the same."""

    id: str
    name: str
    num_events: int
    """Number of its last event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which resources a page has, and in which order. By default the first ones, newest first."""

    name: str | None = None
    """Part of the names of the listed resources; None: all."""
    since: datetime | None = None
    """Only resources that were created or have ended at this time or later, in UTC; None: all."""
    archived: bool = False
    """Whether archived resources are listed, and only these."""
    sort: Sort = "-created_at"
    page_size: int = 50
    """Maximum number of items, from 1 to MAX_PAGE_SIZE."""
    page_token: str | None = None
    """Token of the previous page; None for the first page."""


NEWEST = Listing()


def check_page_size(page_size: int) -> None:
    """Check the maximum number of items of a page.

    Raises:
        InvalidValueError: The number is not between 1 and MAX_PAGE_SIZE.
    """
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidValueError(f"page_size={page_size} must be between 1 and {MAX_PAGE_SIZE}")


def page(
    session: Session,
    table: type[R],
    listing: Listing = NEWEST,
    status: Collection[StrEnum] = (),
    *,
    parts: Collection[str] | None = None,
) -> Page[R]:
    """Return one page of resources.

    Args:
        session: Any session.
        table: The table of the resources.
        listing: Which resources, and in which order.
        status: Statuses of the resources to list; empty: all.
        parts: Names of the columns that are read. None: all.

    Raises:
        InvalidValueError: The page size is out of range, or the token is not one of this list.
    """
    check_page_size(listing.page_size)
    column: Any = getattr(table, listing.sort.removeprefix("-"))
    descending = listing.sort.startswith("-")
    key = tuple_(column, table.id)
    statement = select(table).where(*_conditions(table, listing, status))
    if parts is not None:
        statement = statement.options(load_only(*_read(table, parts)))
    if listing.page_token is not None:
        last = tuple_(*_position(session, table, listing.sort, listing.page_token))
        statement = statement.where(key < last if descending else key > last)
    order = (each.desc() if descending else each.asc() for each in (column, table.id))
    rows = list(session.scalars(statement.order_by(*order).limit(listing.page_size + 1)))
    more = len(rows) > listing.page_size
    token = _token(rows[listing.page_size - 1], listing.sort) if more else None
    return Page(rows[: listing.page_size], token)


def _conditions(
    table: type[R], listing: Listing, status: Collection[StrEnum]
) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if status:
        found.append(table.status.in_(status))
    if listing.name is not None:  # names are in lower case
        found.append(table.name.contains(listing.name.lower(), autoescape=True))
    if listing.since is not None:
        is_new: ColumnElement[bool] = table.created_at >= listing.since
        ended = getattr(table, "finished_at", None)
        found.append(is_new if ended is None else is_new | (ended >= listing.since))
    if issubclass(table, Archivable):
        archived = table.archived_at.is_not(None)
        found.append(archived if listing.archived else ~archived)
    return found


def _read(table: type[R], parts: Collection[str]) -> list[InstrumentedAttribute[object]]:
    """Return the columns of these names, and those that a list is sorted by."""
    wanted = {*parts, "created_at", "name", "status"}
    names = sorted(wanted & set(table.__table__.columns.keys()))
    return [getattr(table, name) for name in names]


def _token(row: R, sort: Sort) -> str:
    """The token of the page after a row. It holds the status, which may change meanwhile."""
    return f"{row.status}_{row.id}" if sort.endswith("status") else row.id


def _position(session: Session, table: type[R], sort: Sort, token: str) -> tuple[Any, str]:
    """The values by which the last row of a page was sorted."""
    status, _, row_id = token.rpartition("_")
    by_status = sort.endswith("status")
    last = session.get(table, row_id if by_status else token)
    if last is None or (by_status and status not in list(type(last.status))):
        raise InvalidValueError(f"page_token {token!r} was not given out by this list")
    return status if by_status else getattr(last, sort.removeprefix("-")), last.id


def key(
    session: Session, table: type[SearchRow] | type[DistillationRow], noun: str, reference: str
) -> RunKey:
    """Return the key of the run with this id, or else with this name, without reading the rest.

    Raises:
        NotFoundError: There is none.
    """
    found = session.execute(_key_query(table), {"reference": reference}).first()
    if found is None:
        raise _missing(session, table.name, noun, reference)
    return RunKey(*found)


@cache
def _key_query(
    table: type[SearchRow] | type[DistillationRow],
) -> Select[str, str, int]:
    """Return the statement for the key of a run. It is built once: most requests need it."""
    reference: BindParameter[str] = bindparam("reference")
    return (
        select(table.id, table.name, table.num_events)
        .where((table.id == reference) | (table.name == reference))
        .order_by((table.id == reference).desc())
        .limit(1)
    )


def key_of(row: SearchRow | DistillationRow) -> RunKey:
    """Return the key of a run."""
    return RunKey(row.id, row.name, row.num_events)


def get(session: Session, table: type[R], noun: str, reference: str) -> R:
    """Return the resource with this id, or else with this name.

    Args:
        session: Any session.
        table: The table of the resources.
        noun: The kind of resource, for the message.
        reference: Id or name.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(table, reference) or session.scalar(
        select(table).where(table.name == reference)
    )
    if row is None:
        raise _missing(session, table.name, noun, reference)
    return row


def _missing(
    session: Session, names: InstrumentedAttribute[str], noun: str, reference: str
) -> NotFoundError:
    """Return the error that a resource does not exist, with the name that was probably meant."""
    hint = did_you_mean(reference, session.scalars(select(names)))
    return NotFoundError(f"{noun} {reference!r} does not exist{hint}")
