"""Sends the deliveries of webhooks that are due, beside the rounds of the coordinator.

Requests run in a thread with an event loop, so that a slow receiver delays neither a round nor
another receiver. What is to be sent is in the database: a process that dies between a request and
the record of its answer lets another one send it again, with the same id.
"""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta

from searchd.coordinator.webhook_request import TIMEOUT_S, Answer, Message, send
from searchd.domain.webhooks import delay_after
from searchd.store import Database, counters, webhooks
from searchd.store.base import now
from searchd.store.counters import Metric

log = logging.getLogger(__name__)

KEEP = timedelta(days=30)
"""How long ended deliveries are listed."""
_HOLD_S = 4 * TIMEOUT_S
"""Seconds after which another process may repeat an attempt."""
_MAX_AT_ONCE = 50
"""Largest number of requests at the same time, at most one to each webhook."""
_FORGET_INTERVAL_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A request under way."""

    delivery_id: str
    webhook_id: str
    number: int
    answer: "Future[Answer]"


class WebhookSender:
    """Sends what is due and records the answers, one `step` in each round.

    Args:
        database: Holds the deliveries.
        allow_private: Whether receivers may be in a private network, or on this machine.
        timeout_s: Seconds for each request.
        clock: The present time.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        allow_private: bool,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        self._clock = clock
        self._monotonic = monotonic
        self._forgotten_at = float("-inf")
        self._under_way: list[_Attempt] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhooks", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Requests under way are repeated by the next process."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def step(self) -> None:
        """Record the answers that have come, and send what is due."""
        ended = [attempt for attempt in self._under_way if attempt.answer.done()]
        for attempt in ended:
            self._record(attempt)
            self._under_way.remove(attempt)
        self._send_due()
        self._forget()

    def _send_due(self) -> None:
        busy = [attempt.webhook_id for attempt in self._under_way]
        free = _MAX_AT_ONCE - len(busy)
        at = self._clock()
        with self._database.read() as session:
            due = [each for each in webhooks.due(session, now=at) if each not in busy][:free]
        if not due:
            return
        with self._database.write() as session:
            claimed = webhooks.claim(session, due, now=at, hold_s=_HOLD_S)
        for delivery, webhook in claimed:
            message = Message(
                id=delivery.id, url=webhook.url, body=delivery.body, secret=webhook.secret
            )
            request = send(message, allow_private=self._allow_private, timeout_s=self._timeout_s)
            answer = asyncio.run_coroutine_threadsafe(request, self._loop)
            self._under_way.append(_Attempt(delivery.id, webhook.id, delivery.attempts, answer))

    def _record(self, attempt: _Attempt) -> None:
        answer = attempt.answer.result()
        delay = None
        if answer.error and not answer.is_gone:
            chance = random.random()
            delay = delay_after(attempt.number, chance, answer.retry_after_s)
            log.info("%s, attempt %d: %s", attempt.delivery_id, attempt.number, answer.error)
        result = "retried" if delay is not None else "failed" if answer.error else "delivered"
        with self._database.write() as session:
            webhooks.record(
                session,
                attempt.delivery_id,
                delivered=not answer.error,
                response_status=answer.status,
                error=answer.error,
                retry_at=None if delay is None else self._clock() + delay,
            )
            if answer.is_gone:
                webhooks.disable(session, attempt.webhook_id)
            counters.add(session, Metric.WEBHOOK_ATTEMPTS, result=result)

    def _forget(self) -> None:
        if self._monotonic() - self._forgotten_at < _FORGET_INTERVAL_S:
            return
        self._forgotten_at = self._monotonic()
        with self._database.write() as session:
            webhooks.forget(session, before=self._clock() - KEEP)

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_soon(self._loop.stop)
