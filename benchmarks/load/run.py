"""A load test: clients submit, read and cancel searches at the same time.

    python -m benchmarks.load.run --clients 100 --seconds 120 [--database sqlite]

Starts a database server, the API and a coordinator with simulated drivers, which train nothing.
Each client sends requests without pause; then the responses are compared with the database. Exit
code 1: a response was wrong, or the database contradicts one.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import func, select

from benchmarks.load.clients import DATASET, POOL, Promises, run
from benchmarks.load.service import database_url, processes
from searchd.domain.lifecycle import SearchStatus
from searchd.domain.transitions import is_final
from searchd.store import Database, Desired, Role
from searchd.store.models import EventRow, SearchRow, WorkRow
from searchd.store.resources import tokens

SETTLE_S = 120.0
"""Seconds after the load within which all accepted cancellations must take effect."""
TROUBLE = ("Traceback", "deadlock", "database is locked", "lock timeout")
"""Words that must not occur in the log of any process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a load test.

    Attributes:
        promises: Record of the responses.
        took_s: Seconds from the first request to the last response.
        settled_s: Seconds from then until all accepted cancellations had taken effect.
        violations: Contradictions between responses and database, in words.
    """

    promises: Promises
    took_s: float
    settled_s: float
    violations: list[str]


def load(backend: str, num_clients: int, seconds: float) -> Outcome:
    """Start all processes, run the clients, and check the results."""
    with tempfile.TemporaryDirectory() as name, database_url(backend, Path(name)) as url:
        with closing(Database(url)) as database:
            with processes(url, Path(name)) as (address, children):
                secrets = _prepare(database, address, Path(name), num_clients)
                promises, took_s = asyncio.run(run(address, secrets, seconds))
                settled_s = _settle(database)
                ended = [child.name for child in children if child.exit_code is not None]
            violations = [*promises.broken, *(f"{each} has ended" for each in ended)]
            violations += _violations(database, promises)
        for log in Path(name).glob("*.log"):
            text = log.read_text(errors="replace")
            violations += [f"{log.name}: {word}" for word in TROUBLE if word in text]
    return Outcome(promises, took_s, settled_s, violations)


def _prepare(database: Database, address: str, folder: Path, num_clients: int) -> dict[str, str]:
    """Create a data set, a pool and a token for each client; return the tokens by name."""
    split = {"annotations": str(folder), "images": str(folder)}
    with database.write() as session:
        admin = tokens.create(session, "admin", Role.ADMIN)
        names = [f"client-{number:03d}" for number in range(num_clients)]
        secrets = {name: tokens.create(session, name, Role.SUBMIT) for name in names}
    headers = {"Authorization": f"Bearer {admin}"}
    with httpx.Client(base_url=f"{address}/api/v1", headers=headers, trust_env=False) as http:
        dataset = {"name": DATASET, "train": split, "validation": split}
        http.post("/datasets", json=dataset).raise_for_status()
        http.post("/pools", json={"name": POOL, "dataset": DATASET}).raise_for_status()
    return secrets


def _settle(database: Database) -> float:
    """Wait until all requests to cancel have taken effect, at most SETTLE_S; return the seconds."""
    start = time.monotonic()
    statement = select(SearchRow.status).join(WorkRow, WorkRow.resource_id == SearchRow.id)
    while time.monotonic() - start < SETTLE_S:
        with database.read() as session:
            statuses = session.scalars(statement.where(WorkRow.desired == Desired.CANCEL)).all()
        if all(map(is_final, statuses)):
            break
        time.sleep(0.2)
    return time.monotonic() - start


def _violations(database: Database, promises: Promises) -> Iterator[str]:
    """Find where the database contradicts the responses."""
    with database.read() as session:
        rows = {row.id: row for row in session.scalars(select(SearchRow))}
        desired = {row.resource_id: row.desired for row in session.scalars(select(WorkRow))}
        numbers = session.execute(
            select(
                EventRow.resource_id,
                func.count(),
                func.min(EventRow.number),
                func.max(EventRow.number),
            ).group_by(EventRow.resource_id)
        ).all()
        ends = select(EventRow.resource_id).where(
            EventRow.subject == EventRow.resource_id, EventRow.status == SearchStatus.CANCELLED
        )
        ended = Counter(session.scalars(ends))
    if {row.id: row.name for row in rows.values()} != promises.submitted:
        yield f"{len(promises.submitted)} searches were accepted, {len(rows)} are stored"
    counted = {resource: (count, low, high) for resource, count, low, high in numbers}
    for row in rows.values():
        if counted[row.id] != (row.num_events, 1, row.num_events):
            yield f"{row.id}: {row.num_events} events are numbered {counted[row.id]}"
        yield from _cancellation(row, desired[row.id], ended[row.id], promises)


def _cancellation(
    row: SearchRow, desired: Desired, num_ends: int, promises: Promises
) -> Iterator[str]:
    if row.id in promises.cancelled:
        if (row.status, desired, num_ends) != (SearchStatus.CANCELLED, Desired.CANCEL, 1):
            yield f"{row.id}: cancellation was accepted, but it is {row.status}, {num_ends} times"
    elif desired is not Desired.RUN or row.status is SearchStatus.CANCELLED:
        yield f"{row.id}: no cancellation was accepted, but it is {row.status}"
    elif row.id in promises.refused and row.status is not SearchStatus.SUCCEEDED:
        yield f"{row.id}: cancellation was refused as if it had ended, but it is {row.status}"


def table(outcome: Outcome) -> Iterator[str]:
    """Yield the measurements, line by line."""
    samples = outcome.promises.samples
    yield f"{'request':<18} {'count':>7} {'1/s':>7} {'p50':>7} {'p95':>7} {'p99':>7} ms  statuses"
    for what in ["all", *sorted({kind for kind, _, _ in samples})]:
        chosen = [sample for sample in samples if what in ("all", sample[0])]
        cuts = statistics.quantiles([1000 * s for _, _, s in chosen] * 2, n=100)
        statuses = Counter(status for _, status, _ in chosen)
        said = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        rate = len(chosen) / outcome.took_s
        yield (
            f"{what:<18} {len(chosen):>7} {rate:>7.1f} "
            f"{cuts[49]:>7.0f} {cuts[94]:>7.0f} {cuts[98]:>7.0f}     {said}"
        )
    promises = outcome.promises
    yield (
        f"{len(promises.submitted)} searches accepted, {len(promises.cancelled)} cancelled (the "
        f"last {outcome.settled_s:.1f} s after the load), {len(outcome.violations)} violations"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--clients", type=int, default=100, help="number of clients that send requests at once")
    add("--seconds", type=float, default=120.0, help="duration of the load in seconds")
    backends = ["postgresql", "sqlite"]
    add("--database", choices=backends, default="postgresql", help="database of the tested service")
    options = parser.parse_args()
    given = f"{options.clients} clients for {options.seconds:g} s on {options.database}"
    sys.stderr.write(f"{given}, {os.cpu_count()} cores\n")
    outcome = load(options.database, options.clients, options.seconds)
    sys.stdout.write("\n".join([*table(outcome), *sorted(outcome.violations)[:50]]) + "\n")
    sys.exit(1 if outcome.violations else 0)


if __name__ == "__main__":
    main()
