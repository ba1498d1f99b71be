"""The service under load of `benchmarks.load.run`: the real API and the real coordinator, each in
its own process. Drivers are simulated: they write to the database like real ones, without Ray.

`python -m benchmarks.load.service` is the process of the coordinator; any error ends it.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import httpx

from benchmarks import postgresql
from cli.child_processes import Child, free_ports
from searchd.coordinator.jobs import JobStatus, Node
from searchd.coordinator.loop import Coordinator
from searchd.domain.lifecycle import SearchStatus, WorkKind
from searchd.store import Database, Desired, Lease, upgrade
from searchd.store.base import now
from searchd.store.resources import datasets
from searchd.store.work import queue
from searchd.store.work.lease import hold

log = logging.getLogger(__name__)

START_S = 60.0
"""Seconds within which the API must be ready."""
MAX_RUNNING = 4
NUM_STEPS, STEP_S = 20, 0.1
"""The number of steps of a simulated search, and the seconds of each."""
LEASE_S = 3600.0
_URL = "SEARCHD_DATABASE_URL"
_ROOT = Path(__file__).parents[2]


class SimulatedDrivers:
    """An implementation of `searchd.coordinator.jobs.Jobs` that simulates searches in threads, and
    trains nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statuses: dict[str, JobStatus] = {}

    def submit(self, job_id: str, _command: Sequence[str], _metadata: Mapping[str, str]) -> None:
        work_id, _, number = job_id.rpartition("-")
        self._statuses[job_id] = JobStatus.RUNNING
        job = (job_id, Lease(work_id, int(number)))
        threading.Thread(target=self._simulate, args=job, daemon=True).start()

    def status(self, job_id: str) -> JobStatus:
        return self._statuses.get(job_id, JobStatus.MISSING)

    def stop(self, job_id: str) -> None:
        raise AssertionError(f"no lease expires during a load test, but {job_id} should stop")

    def log_tail(self, _job_id: str, _num_lines: int = 20) -> str:
        return ""

    def nodes(self) -> list[Node]:
        return [Node(cpus=64, gpus=0)]

    def _simulate(self, job_id: str, lease: Lease) -> None:
        with self._database.read() as session:
            kind = queue.get(session, lease.work_id).kind
        if kind is WorkKind.DATASET_CHECK:
            with self._database.write() as session:
                datasets.record_ready(session, lease, {"class_names": ["a"]})
        if kind is WorkKind.SEARCH:
            self._search(lease)
        if kind is not WorkKind.POOL:  # its training outlasts the load test
            self._statuses[job_id] = JobStatus.SUCCEEDED

    def _search(self, lease: Lease) -> None:
        for status in (SearchStatus.PREPARING, SearchStatus.RUNNING):
            with self._database.write() as session:
                queue.advance(session, lease, status, "simulated")
        for number in range(NUM_STEPS):
            time.sleep(STEP_S)
            with self._database.write() as session:
                queue.extend(session, lease, lease_s=LEASE_S, now=now())
                queue.record_once(session, lease, f"step {number}", [f"step {number}"])
                if hold(session, lease).desired is Desired.CANCEL:
                    break
        with self._database.write() as session:
            if hold(session, lease).desired is Desired.CANCEL:
                queue.stopped(session, lease)
            else:
                queue.finish(session, lease, SearchStatus.SUCCEEDED, "simulated to the end")


def coordinate() -> None:
    """Run the coordinator until SIGTERM; an error ends the process."""
    logging.basicConfig(level=logging.INFO)
    stop = threading.Event()
    failures: list[str] = []

    def fail(arguments: threading.ExceptHookArgs) -> None:
        failures.append(repr(arguments.exc_value))
        threading.__excepthook__(arguments)

    threading.excepthook = fail
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with closing(Database(os.environ[_URL])) as database:
        coordinator = Coordinator(
            database,
            SimulatedDrivers(database),
            lease_s=LEASE_S,
            max_running_searches=MAX_RUNNING,
            max_attempts=1,
        )
        while not stop.wait(0.2) and not failures:
            coordinator.step()
    sys.exit(1 if failures else 0)


@contextmanager
def database_url(backend: str, folder: Path) -> Iterator[str]:
    """Yield the URL of a new, upgraded database with durable commits, as in production."""
    if backend == "sqlite":
        url = f"sqlite:///{folder / 'searchd.sqlite'}"
        upgrade(url)
        yield url
        return
    with postgresql.running(durable=True) as server, server.database("load") as url:
        upgrade(url)
        yield url


@contextmanager
def processes(url: str, folder: Path) -> Iterator[tuple[str, list[Child]]]:
    """Start API and coordinator on the database; yield the URL of the API and the two processes."""
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        _URL: url,
        "PYTHONPATH": str(_ROOT),
        "SEARCHD_AUTH": "on",
        "SEARCHD_DATA_ROOTS": str(folder),
        "SEARCHD_CHECK_FILES": "off",  # the specs of the clients name no real files
        "SEARCHD_API_PORT": str(port),
    }
    modules = {"api": "api", "coordinator": "benchmarks.load.service"}
    children = [
        Child(name, [sys.executable, "-m", module], environment, folder, folder / f"{name}.log")
        for name, module in modules.items()
    ]
    try:
        for child in children:
            child.start()
        address = f"http://127.0.0.1:{port}"
        await_ready(address, children[0])
        yield address, children
    finally:
        for child in children:
            child.stop()


def await_ready(address: str, api: Child) -> None:
    """Wait until the API answers.

    Raises:
        RuntimeError: It has ended, or is not ready in time.
    """
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and api.exit_code is None:
        try:
            if httpx.get(f"{address}/readyz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"the API did not start; {api.tail()}")


if __name__ == "__main__":
    coordinate()
