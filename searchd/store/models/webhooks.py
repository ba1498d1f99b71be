"""Webhooks, and their deliveries: what is to be sent, and the log of what was."""

from datetime import datetime

from pydantic import TypeAdapter
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from searchd.domain.webhooks import DeliveryStatus, WebhookEvent
from searchd.store.base import ID_LENGTH, AsJson, Base, now, status_type
from searchd.store.models.resources import NAME_LENGTH


class WebhookRow(Base):
    """An address that is told what happens."""

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    url: Mapped[str]
    events: Mapped[tuple[WebhookEvent, ...]] = mapped_column(
        AsJson(TypeAdapter(tuple[WebhookEvent, ...]))
    )
    """What it is told."""
    secret: Mapped[str]
    """Key of the signatures, whsec_ and base64. Not a digest: signing needs it."""
    owner: Mapped[str | None] = mapped_column(String(NAME_LENGTH))
    """Name of the token that created it; None if it was created without authentication."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    disabled_at: Mapped[datetime | None]
    """When its receiver answered that it is gone (410). Nothing is sent since then."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"webhook {self.id}"


class DeliveryRow(Base):
    """A message to one receiver."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    """The message's `webhook-id`, the same in every attempt, by which receivers drop
    repetitions."""
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"), index=True)
    type: Mapped[str] = mapped_column(String(ID_LENGTH))
    """Type of the message, such as "search.ended"."""
    body: Mapped[str]
    """The message exactly as it is sent and signed."""
    status: Mapped[DeliveryStatus] = mapped_column(
        status_type(DeliveryStatus), default=DeliveryStatus.PENDING, index=True
    )
    attempts: Mapped[int] = mapped_column(default=0)
    """Number of attempts that have begun."""
    next_attempt_at: Mapped[datetime] = mapped_column(default=now)
    """When the next attempt is due; during one, when another coordinator may take over."""
    response_status: Mapped[int | None]
    """HTTP status of the last response; None if there was none."""
    error: Mapped[str] = mapped_column(default="")
    """Why the last attempt failed, in words; empty if it did not."""
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)
    ended_at: Mapped[datetime | None]
    """When it was delivered, or given up."""
