"""Webhooks and their deliveries in responses of the API."""

from datetime import datetime

from api.schemas.base import Schema
from searchd.domain.webhooks import DeliveryStatus, WebhookEvent


class Webhook(Schema):
    """A webhook without its secret."""

    id: str
    """Id of the webhook, assigned by the service."""
    url: str
    """Address that requests are sent to."""
    events: list[WebhookEvent]
    """What the webhook is told: ended, failed and incumbent."""
    owner: str | None
    """Name of the token that created the webhook; null without authentication."""
    created_at: datetime
    """Time when the webhook was created, in UTC."""
    disabled_at: datetime | None
    """Time when the receiver answered that it is gone (410), in UTC; nothing is sent since then."""


class CreatedWebhook(Webhook):
    """A webhook that was just created, with its secret, which no other response shows."""

    secret: str
    """Key of the signatures: whsec_ and base64. Receivers verify requests with it."""


class Delivery(Schema):
    """A message to the receiver of a webhook, and how sending it went."""

    id: str
    """Id of the message, its header webhook-id, the same in every attempt."""
    webhook_id: str
    """Id of the webhook that the message is sent to."""
    type: str
    """Type of the message, for example search.ended."""
    status: DeliveryStatus
    """State of the delivery: pending, delivered or failed."""
    attempts: int
    """Number of attempts that have begun."""
    next_attempt_at: datetime | None
    """Time of the next attempt, in UTC; null once the delivery has ended."""
    response_status: int | None
    """HTTP status of the last response; null without one."""
    error: str
    """Why the last attempt failed, in words; empty if it did not."""
    body: str
    """Message exactly as it is sent: a JSON object with type, timestamp and data."""
    created_at: datetime
    """Time when the message was queued, in UTC."""
    ended_at: datetime | None
    """Time when it was delivered or given up, in UTC; null before."""
