"""Pagination by cursor: a page starts after the last item of the previous page, so that no item is
skipped or repeated while items are added."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidValueError, NotFoundError
from searchd.store.models.resources import (
    DatasetRow,
    DeviceRow,
    DistillationRow,
    ExportRow,
    PoolRow,
    SearchRow,
    TeacherRow,
)

MAX_PAGE_SIZE = 500
T = TypeVar("T")
R = TypeVar("R", DatasetRow, PoolRow, TeacherRow, ExportRow, DeviceRow, SearchRow, DistillationRow)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list."""

    items: list[T]
    next_page_token: str | None
    """Token for the next page; None on the last one."""


def check_page_size(page_size: int) -> None:
    """Check the maximum number of items of a page.

    Raises:
        InvalidValueError: The number is not between 1 and MAX_PAGE_SIZE.
    """
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise InvalidValueError(f"page_size={page_size} must be between 1 and {MAX_PAGE_SIZE}")


def newest_first(
    session: Session,
    table: type[R],
    status: StrEnum | None,
    page_size: int,
    page_token: str | None,
) -> Page[R]:
    """Return one page of resources, newest first.

    Args:
        session: Any session.
        table: The table of the resources.
        status: Status of the resources to list; None: all.
        page_size: Maximum number of items, from 1 to MAX_PAGE_SIZE.
        page_token: Token of the previous page; None for the first page.

    Raises:
        InvalidValueError: `page_size` is out of range, or the token is not one of this list.
    """
    check_page_size(page_size)
    statement = select(table)
    if status is not None:
        statement = statement.where(table.status == status)
    if page_token is not None:
        last = session.get(table, page_token)
        if last is None:
            raise InvalidValueError(f"page_token {page_token!r} was not given out by this list")
        statement = statement.where(
            tuple_(table.created_at, table.id) < tuple_(last.created_at, last.id)
        )
    ordered = statement.order_by(table.created_at.desc(), table.id.desc())
    rows = list(session.scalars(ordered.limit(page_size + 1)))
    return Page(rows[:page_size], rows[page_size - 1].id if len(rows) > page_size else None)


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
        raise NotFoundError(f"{noun} {reference!r} does not exist")
    return row
