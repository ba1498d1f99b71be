"""Answers of the API about a large search, with many clients at once.

    python -m benchmarks.scale.http [--trials 5000] [--clients 25] [--seconds 5] [--database sqlite]

The real API in a process of its own, and clients in this one, share the cores of this machine. The
front over HTTP is compared with that of all evaluations by brute force. Prints JSON.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
from sqlalchemy import event, select

from api.events import Feeds
from benchmarks.load.service import await_ready
from benchmarks.scale import large_search, stage
from cli.child_processes import Child, free_ports
from searchd.search.pareto import pareto_front
from searchd.store import Database
from searchd.store.models import EvaluationRow

ROOT = Path(__file__).parents[2]
SEARCH = f"/api/v1/searches/{stage.NAME}"
REQUESTS = {
    "front alone": f"{SEARCH}/pareto?dominated=0",
    "front with 1,000 dominated points": f"{SEARCH}/pareto",
    "100 dominated points": f"{SEARCH}/pareto/dominated?page_size=34",
    "list of 100 trials": f"{SEARCH}/trials",
    "list of 100 trials, four fields": f"{SEARCH}/trials?fields=id,status,score,parent_id",
    "list of searches": "/api/v1/searches",
    "100 trials of the lineage": f"{SEARCH}/lineage?page_size=100",
    "one trial in a list": f"{SEARCH}/trials?page_size=1&fields=id,status",
    "health": "/healthz",
}


def measure(
    backend: str, num_trials: int, num_clients: int, seconds: float
) -> dict[str, dict[str, float]]:
    """Return requests in a second, and the median and the 95th percentile in ms, by request.

    Raises:
        RuntimeError: The front differs from that by brute force.
    """
    with tempfile.TemporaryDirectory() as name, stage.database_url(backend, Path(name)) as url:
        with closing(Database(url)) as database:
            run_id = large_search.fill(database, Path(name), num_trials)
        with _api(url, Path(name)) as address:
            _check(url, address, run_id)
            return {
                what: asyncio.run(_ask(address + path, num_clients, seconds))
                for what, path in REQUESTS.items()
            }


def looks_per_s(num_watchers: int, seconds: float) -> float:
    """Return how often so many watchers of one search look at the database in a second."""
    with tempfile.TemporaryDirectory() as name, stage.opened("sqlite", Path(name)) as database:
        ledger = stage.ledger_of(database, Path(name), stage.spec(10))
        looks: list[object] = []
        event.listen(database.engine, "begin", lambda _: looks.append(0))

        async def watch() -> None:
            feeds = Feeds(database)
            watching = [_drain(feeds, ledger.run_id) for _ in range(num_watchers)]
            await asyncio.wait([asyncio.ensure_future(each) for each in watching], timeout=seconds)

        asyncio.run(watch())
        return len(looks) / seconds


async def _drain(feeds: Feeds, run_id: str) -> None:
    async for _ in feeds.stream(run_id, 0):
        pass


async def _ask(url: str, num_clients: int, seconds: float) -> dict[str, float]:
    # aiohttp needs a third of the time of httpx for a request, which the API lacks on these cores.
    samples: list[float] = []
    connector = aiohttp.TCPConnector(limit=num_clients)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as http:
        await _get(http, url)
        deadline = time.monotonic() + seconds

        async def client() -> None:
            while time.monotonic() < deadline:
                started = time.perf_counter()
                await _get(http, url)
                samples.append(1000 * (time.perf_counter() - started))

        begun = time.monotonic()
        await asyncio.gather(*(client() for _ in range(num_clients)))
        took_s = time.monotonic() - begun
    cuts = statistics.quantiles(samples * 2, n=100)
    return {
        "per_s": round(len(samples) / took_s, 1),
        "p50_ms": round(cuts[49], 1),
        "p95_ms": round(cuts[94], 1),
    }


async def _get(http: aiohttp.ClientSession, url: str) -> None:
    async with http.get(url) as answer:
        await answer.read()


def _check(url: str, address: str, run_id: str) -> None:
    """Compare the front over HTTP with that of all evaluations."""
    found: Any = httpx.get(f"{address}{SEARCH}/pareto?dominated=0", timeout=60.0).json()["front"]
    with closing(Database(url)) as database, database.read() as session:
        rows = session.execute(
            select(EvaluationRow.macs, EvaluationRow.ap)
            .where(EvaluationRow.trial_id.startswith(f"{run_id}-"))
            .order_by(EvaluationRow.id)
        ).all()
    brute = pareto_front(rows, cost=lambda row: row.macs, value=lambda row: row.ap)
    served = [(each["evaluation"]["macs"], each["evaluation"]["ap"]) for each in found]
    if served != [tuple(row) for row in brute]:
        raise RuntimeError(f"the front has {len(served)} points, by brute force {len(brute)}")


@contextmanager
def _api(url: str, folder: Path) -> Iterator[str]:
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "SEARCHD_DATABASE_URL": url,
        "PYTHONPATH": str(ROOT),
        "SEARCHD_API_PORT": str(port),
        "SEARCHD_CHECK_FILES": "off",
        "SEARCHD_REQUESTS_PER_MINUTE": "100000000",
    }
    command = [sys.executable, "-m", "api"]
    child = Child("api", command, environment, folder, folder / "api.log")
    child.start()
    try:
        await_ready(f"http://127.0.0.1:{port}", child)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale.http", description=__doc__)
    add = parser.add_argument
    add("--trials", type=int, default=5000, help="number of trials of the search")
    add("--clients", type=int, default=25, help="number of clients at once")
    add("--seconds", type=float, default=5.0, help="seconds for each kind of request")
    add("--database", choices=["sqlite", "postgresql"], default="sqlite", help="database to use")
    options = parser.parse_args()
    found: dict[str, Any] = dict(
        measure(options.database, options.trials, options.clients, options.seconds)
    )
    found["looks of 1,000 watchers"] = {"per_s": looks_per_s(1000, options.seconds)}
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
