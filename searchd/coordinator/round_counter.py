"""Counts the rounds of the coordinator, so that metrics show whether it is alive."""

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from searchd.store import Database, counters
from searchd.store.base import now
from searchd.store.counters import Metric

INTERVAL_S = 15.0
"""Seconds between two records of rounds: as often as Prometheus looks, and not at every round."""


class RoundCounter:
    """Adds up rounds, and records them now and then.

    Args:
        database: Has the counters.
        clock: The present time.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._recorded_at = float("-inf")
        self._rounds: Counter[str] = Counter()
        self._seconds = 0.0

    def note(self, seconds: float, *, succeeded: bool) -> None:
        """Note a round that has just ended."""
        self._rounds["succeeded" if succeeded else "failed"] += 1
        self._seconds += seconds

    def step(self) -> None:
        """Record what was noted, if the last record is `INTERVAL_S` old."""
        if not self._rounds or self._monotonic() - self._recorded_at < INTERVAL_S:
            return
        with self._database.write() as session:
            for result, number in self._rounds.items():
                counters.add(session, Metric.ROUNDS, number, result=result)
            counters.add(session, Metric.ROUND_SECONDS, self._seconds)
            counters.put(session, Metric.LAST_ROUND, self._clock().timestamp())
        self._recorded_at = self._monotonic()
        self._rounds.clear()
        self._seconds = 0.0
