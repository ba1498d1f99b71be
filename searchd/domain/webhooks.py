"""Webhooks: what they tell, and when a delivery is tried again. Standard library only."""

from datetime import timedelta
from enum import StrEnum


class WebhookEvent(StrEnum):
    """What a webhook tells its receiver.

    Attributes:
        ENDED: A search, distillation, pool, teacher, data set or export has ended without a
            failure; its status says how.
        FAILED: One of them has failed.
        INCUMBENT: A search has a new incumbent: a trial with the best score so far.
    """

    ENDED = "ended"
    FAILED = "failed"
    INCUMBENT = "incumbent"


class DeliveryStatus(StrEnum):
    """The status of a delivery.

    Attributes:
        PENDING: It is to be sent, now or after a failed attempt.
        DELIVERED: The receiver has answered with a status of 2xx. Final.
        FAILED: Every attempt failed, or the receiver wants no more. Final.
    """

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


_DELAYS_S = (5, 30, 120, 600, 3600, 6 * 3600, 12 * 3600, 24 * 3600)
"""Seconds between one attempt at a delivery and the next, without the random part."""
MAX_ATTEMPTS = len(_DELAYS_S) + 1


def delay_after(attempts: int, chance: float, retry_after_s: float = 0.0) -> timedelta | None:
    """Return the time until the next attempt at a delivery; None if there is none.

    Args:
        attempts: Number of failed attempts, from 1.
        chance: A random number in [0, 1): up to a fifth is added, so that receivers that come back
            are not asked by everybody at once.
        retry_after_s: Seconds that the receiver asked to wait, up to a day.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    seconds = _DELAYS_S[attempts - 1] * (1 + chance / 5)
    return timedelta(seconds=max(seconds, min(retry_after_s, 24 * 3600.0)))
