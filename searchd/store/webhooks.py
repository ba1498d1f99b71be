"""Webhooks: created, and their deliveries, which are queued in the transaction that they tell of.

So nothing is told that was rolled back, and nothing is forgotten when a process dies. The
coordinator sends them (`searchd.coordinator.webhooks`), at least once.
"""

import base64
import json
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError, InvalidValueError, NotFoundError
from searchd.domain.webhooks import DeliveryStatus, WebhookEvent
from searchd.spec.webhooks import WebhookSpec
from searchd.store.base import new_id, now
from searchd.store.models.webhooks import DeliveryRow, WebhookRow
from searchd.store.paging import Page, check_page_size

MAX_WEBHOOKS = 100
"""Largest number of webhooks of a service: each change of a status tells all of them."""
_SECRET_BYTES = 32


def create(session: Session, spec: WebhookSpec, *, owner: str | None = None) -> WebhookRow:
    """Create a webhook with a secret of its own.

    Raises:
        ConflictError: There are `MAX_WEBHOOKS` already.
    """
    if len(every(session)) >= MAX_WEBHOOKS:
        raise ConflictError(f"there are {MAX_WEBHOOKS} webhooks, the maximum; delete one first")
    secret = base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    row = WebhookRow(
        id=new_id("w"), url=spec.url, events=spec.events, secret=f"whsec_{secret}", owner=owner
    )
    session.add(row)
    session.flush()
    return row


def every(session: Session) -> Sequence[WebhookRow]:
    """Return all webhooks, oldest first."""
    return session.scalars(select(WebhookRow).order_by(WebhookRow.created_at, WebhookRow.id)).all()


def get(session: Session, webhook_id: str) -> WebhookRow:
    """Return a webhook.

    Raises:
        NotFoundError: There is none with this id.
    """
    row = session.get(WebhookRow, webhook_id)
    if row is None:
        raise NotFoundError(f"webhook {webhook_id!r} does not exist")
    return row


def remove(session: Session, row: WebhookRow) -> None:
    """Delete a webhook with its deliveries. One that is being sent may still arrive."""
    session.execute(delete(DeliveryRow).where(DeliveryRow.webhook_id == row.id))
    session.delete(row)


def tell(session: Session, event: WebhookEvent, noun: str, data: dict[str, Any]) -> None:
    """Queue a message for every webhook that wants it.

    Args:
        session: The writing session that makes the change.
        event: What happened.
        noun: To what kind of resource, such as "search".
        data: The facts that the message holds.
    """
    for row in session.scalars(select(WebhookRow).where(WebhookRow.disabled_at.is_(None))):
        if event in row.events:
            queue(session, row, f"{noun}.{event}", data)


def queue(session: Session, webhook: WebhookRow, type_: str, data: dict[str, Any]) -> DeliveryRow:
    """Queue a message for one webhook."""
    content = {"type": type_, "timestamp": now().isoformat(), "data": data}
    row = DeliveryRow(id=new_id("msg"), webhook_id=webhook.id, type=type_, body=json.dumps(content))
    session.add(row)
    session.flush()
    return row


def deliveries(
    session: Session, webhook_id: str, *, page_size: int = 50, page_token: str | None = None
) -> Page[DeliveryRow]:
    """Return one page of a webhook's deliveries, newest first.

    Raises:
        InvalidValueError: The token was not given out by this list.
    """
    check_page_size(page_size)
    statement = select(DeliveryRow).where(DeliveryRow.webhook_id == webhook_id)
    if page_token is not None:
        last = session.get(DeliveryRow, page_token)
        if last is None or last.webhook_id != webhook_id:
            raise InvalidValueError(f"page_token {page_token!r} was not given out by this list")
        is_older = (DeliveryRow.created_at < last.created_at) | (
            (DeliveryRow.created_at == last.created_at) & (DeliveryRow.id < last.id)
        )
        statement = statement.where(is_older)
    newest = statement.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id.desc())
    rows = list(session.scalars(newest.limit(page_size + 1)))
    return Page(rows[:page_size], rows[page_size - 1].id if len(rows) > page_size else None)


def due(session: Session, *, now: datetime) -> list[str]:
    """Return the ids of the webhooks that have a delivery to send, the longest waiting first."""
    found = session.execute(
        select(DeliveryRow.webhook_id, func.min(DeliveryRow.created_at))
        .where(DeliveryRow.status == DeliveryStatus.PENDING, DeliveryRow.next_attempt_at <= now)
        .group_by(DeliveryRow.webhook_id)
        .order_by(func.min(DeliveryRow.created_at))
    )
    return [webhook_id for webhook_id, _ in found]


def claim(
    session: Session, webhook_ids: Sequence[str], *, now: datetime, hold_s: float
) -> list[tuple[DeliveryRow, WebhookRow]]:
    """Take the oldest due delivery of each of these webhooks, unless another process has it.

    A receiver so gets one request at a time, in order as long as none fails, and a long backlog of
    one receiver does not delay the others.

    Args:
        session: A writing session.
        webhook_ids: Webhooks that have something to send.
        now: The present time.
        hold_s: Seconds after which another process may take them, if this one dies.
    """
    claimed = []
    for webhook_id in webhook_ids:
        delivery = session.scalar(
            select(DeliveryRow)
            .where(
                DeliveryRow.webhook_id == webhook_id,
                DeliveryRow.status == DeliveryStatus.PENDING,
                DeliveryRow.next_attempt_at <= now,
            )
            .order_by(DeliveryRow.created_at, DeliveryRow.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        if delivery is not None:
            delivery.next_attempt_at = now + timedelta(seconds=hold_s)
            delivery.attempts += 1
            claimed.append((delivery, session.get_one(WebhookRow, webhook_id)))
    return claimed


def record(
    session: Session,
    delivery_id: str,
    *,
    delivered: bool,
    response_status: int | None,
    error: str,
    retry_at: datetime | None,
) -> None:
    """Record how an attempt ended. Has no effect on a delivery that was deleted meanwhile.

    Args:
        session: A writing session.
        delivery_id: The delivery.
        delivered: Whether the receiver accepted it.
        response_status: HTTP status of the response, if there was one.
        error: Why it failed, in words.
        retry_at: When to try again; None: never.
    """
    values: dict[str, Any] = {"response_status": response_status, "error": error}
    if retry_at is not None:
        values["next_attempt_at"] = retry_at
    else:
        values["status"] = DeliveryStatus.DELIVERED if delivered else DeliveryStatus.FAILED
        values["ended_at"] = now()
    session.execute(update(DeliveryRow).where(DeliveryRow.id == delivery_id).values(values))


def disable(session: Session, webhook_id: str) -> None:
    """Send nothing more to a receiver that is gone; what is pending has failed."""
    at = now()
    session.execute(update(WebhookRow).where(WebhookRow.id == webhook_id).values(disabled_at=at))
    session.execute(
        update(DeliveryRow)
        .where(DeliveryRow.webhook_id == webhook_id, DeliveryRow.status == DeliveryStatus.PENDING)
        .values(status=DeliveryStatus.FAILED, error="the receiver is gone (410)", ended_at=at)
    )


def forget(session: Session, *, before: datetime) -> None:
    """Delete ended deliveries that were created before a time."""
    session.execute(
        delete(DeliveryRow).where(
            DeliveryRow.created_at < before, DeliveryRow.status != DeliveryStatus.PENDING
        )
    )
