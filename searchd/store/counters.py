"""Counters of what happened in all processes, for the metrics of the API.

A counter is written when its transaction commits, so that it counts what was stored and nothing
else. `api.metrics` shows each under its name with the prefix searchd_.
"""

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from sqlalchemy import event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from searchd.store.models.counters import CounterRow

SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the buckets of durations, in seconds; the last bucket has no bound."""
_PENDING = "counters"
_INSERT: Mapping[str, Callable[[type[CounterRow]], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
_Key = tuple[str, str]
"""Name and labels of a counter."""


class Metric(StrEnum):
    """What is counted.

    Attributes:
        WORK_ENDED: Work that ended, by kind and status.
        LEASES: Leases granted, which are starts of drivers, by kind.
        REQUEUES: Work taken from a driver that died or gave it back, by kind.
        QUEUE_WAIT: Seconds from queueing to the lease, by kind.
        TRIAL_STARTS: Attempts at trials.
        TRIALS_ENDED: Trials that ended, by outcome.
        TRIAL_SECONDS: Seconds that workers spent on each trial that ended, by outcome.
        ROUNDS: Rounds of the coordinator, by result.
        ROUND_SECONDS: Seconds of these rounds.
        WEBHOOK_ATTEMPTS: Attempts to deliver a message, by result.
        SINK_RECORDS: Trials that were passed to sinks, by sink and result.
        LAST_ROUND: Time of the last recorded round, in seconds since 1970.
    """

    WORK_ENDED = "work_ended"
    LEASES = "leases_granted"
    REQUEUES = "work_requeues"
    QUEUE_WAIT = "queue_wait_seconds"
    TRIAL_STARTS = "trial_starts"
    TRIALS_ENDED = "trials_ended"
    TRIAL_SECONDS = "trial_seconds"
    ROUNDS = "coordinator_rounds"
    ROUND_SECONDS = "coordinator_round_seconds"
    WEBHOOK_ATTEMPTS = "webhook_attempts"
    SINK_RECORDS = "sink_records"
    LAST_ROUND = "coordinator_last_round_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter as it is stored."""

    name: str
    labels: Mapping[str, str]
    value: float


def add(session: Session, metric: Metric, amount: float = 1.0, **labels: str) -> None:
    """Add to a counter when the transaction of a writing session commits."""
    _pending(session)[metric, _text(labels)] += amount


def observe(session: Session, metric: Metric, seconds: float, **labels: str) -> None:
    """Add a duration to a histogram with the buckets `SECONDS`."""
    bound = [*map(str, SECONDS), "+Inf"][bisect_left(SECONDS, seconds)]
    pending = _pending(session)
    pending[f"{metric}_bucket", _text({**labels, "le": bound})] += 1
    pending[f"{metric}_sum", _text(labels)] += seconds


def put(session: Session, metric: Metric, value: float) -> None:
    """Store a value that replaces the last one, now."""
    session.merge(CounterRow(name=metric.value, labels=_text({}), value=value))


def every(session: Session) -> Sequence[Counted]:
    """Return all counters. Their number depends on labels, and not on what has happened."""
    return [
        Counted(row.name, json.loads(row.labels), row.value)
        for row in session.scalars(select(CounterRow))
    ]


def _pending(session: Session) -> dict[_Key, float]:
    if _PENDING not in session.info:
        session.info[_PENDING] = defaultdict(float)
        event.listen(session, "before_commit", _write)
    pending: dict[_Key, float] = session.info[_PENDING]
    return pending


def _write(session: Session) -> None:
    """Add what is pending. Last in the transaction and in one order, so that processes neither wait
    for each other for long nor deadlock."""
    session.flush()
    pending: dict[_Key, float] = session.info[_PENDING]
    if not pending:
        return
    rows = [
        {"name": name, "labels": labels, "value": pending[name, labels]}
        for name, labels in sorted(pending)
    ]
    pending.clear()
    session.connection().execute(_adding(session.get_bind().dialect.name), rows)


@cache
def _adding(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Return the statement that adds to a counter. It is built once, since every change of a
    trial's status needs it."""
    insert = _INSERT[dialect](CounterRow)
    total = CounterRow.value + insert.excluded.value
    return insert.on_conflict_do_update(index_elements=["name", "labels"], set_={"value": total})


def _text(labels: Mapping[str, str]) -> str:
    return json.dumps(labels, sort_keys=True)
