"""A running `searchd up`, as an operator starts it, with what tests do to it and observe."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from api.client import Client
from cli.child_processes import end, marked
from cli.local_service import MARK
from searchd.domain.lifecycle import SearchStatus, TrialStatus, WorkStatus
from searchd.spec import BudgetSpec, DatasetSpec, PoolSpec, ResourcesSpec, SearchSpec, SplitSpec
from searchd.store import Database
from searchd.store.models import TrialRow
from searchd.store.runs import trials
from searchd.store.work import queue
from tests.chaos import workers
from tests.chaos.workers import Attempt

log = logging.getLogger(__name__)

LEASE_S = 20.0
"""Longer than a driver needs to start while everything else starts too."""
SETTINGS = {
    "SEARCHD_LEASE_S": str(LEASE_S),
    "SEARCHD_POLL_S": "0.5",
    "SEARCHD_SLICE_S": "0.1",
    "SEARCHD_SILENCE_S": "60",
}
"""Settings that make faults noticed sooner than with the defaults; see docs/operations.md."""
MAX_TRIALS = 6


@dataclass(frozen=True)
class Finished:
    """The database's record of a trial that has ended, which must never change."""

    name: str
    status: TrialStatus
    attempt: int
    completion: int | None
    score: float | None
    params: int | None


class Site:
    """A running `searchd up` on a folder.

    Args:
        folder: Folder for the data folder and the notes of the workers.
        url: URL of the API.
        process: The process of `searchd up`.
        environment: Environment variables of the service.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        process: "subprocess.Popen[str]",
        environment: Mapping[str, str],
    ) -> None:
        self.data_folder = folder / "data"
        self.notes = folder / "notes"
        self.artifacts = Path(environment.get("SEARCHD_ARTIFACTS", self.data_folder / "artifacts"))
        self.environment = environment
        self.process = process
        self.url = url
        self.client = Client(url)
        sqlite = f"sqlite:///{self.data_folder / 'searchd.sqlite'}"
        self.database = Database(environment.get("SEARCHD_DATABASE_URL", sqlite))

    def close(self) -> None:
        self.client.close()
        self.database.close()

    # Actions

    def add_teachers(self, name: str = "shapes") -> None:
        """Add a data set and a pool of this name, and wait until both are ready."""
        split = SplitSpec(annotations=Path("/data/train.json"), images=Path("/data"))
        self.client.create_dataset(DatasetSpec(name=name, train=split, validation=split))
        self.client.create_pool(PoolSpec(name=name, dataset=name))
        self.client.wait_for_pool(name, poll_s=0.2)

    def submit(self, name: str, *, max_trials: int = MAX_TRIALS) -> str:
        """Submit a search with two trials in flight and return its id."""
        spec = SearchSpec(
            name=name,
            dataset="shapes",
            pool="shapes",
            budget=BudgetSpec(max_trials=max_trials, finish=None),
            resources=ResourcesSpec(trials_in_flight=2),
            control=False,
        )
        return self.client.submit_search(spec).id

    def submit_busy(self, name: str, *, max_trials: int = MAX_TRIALS) -> str:
        """Submit a search, wait until two of its trials have ended and two others are held in the
        middle, and return its id. The two others are held until `release`."""
        search = self.submit(name, max_trials=max_trials)
        workers.hold(self.notes, search)
        self.wait_until(lambda: self.is_busy(search))
        return search

    def release(self, search: str) -> None:
        """Let the held trials of a search continue."""
        workers.release(self.notes, search)

    def start_more(self, *module: str) -> "subprocess.Popen[bytes]":
        """Start another process of the service with the environment of the coordinator."""
        coordinator = self.module("searchd.coordinator")
        assert coordinator is not None
        environment = coordinator.environ()
        with (self.data_folder / "logs" / "more.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", *module],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @contextmanager
    def another(self, *module: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Start a process as `start_more` does; kill it and its descendants at the end of the
        block."""
        process = self.start_more(*module)
        try:
            yield process
        finally:
            kill(family(process.pid))
            process.wait(10)

    @contextmanager
    def node(self, *, cpus: int) -> Iterator["subprocess.Popen[bytes]"]:
        """Let another node with this many CPUs join on this machine; kill it at the end."""
        options = {
            "address": self.setting("RAY_ADDRESS"),
            "num-cpus": str(cpus),
            "object-store-memory": str(2**27),
            "dashboard-agent-listen-port": "0",
            "min-worker-port": "0",
            "max-worker-port": "0",
        }
        arguments = [f"--{name}={value}" for name, value in options.items()]
        with self.another("ray.scripts.scripts", "start", "--block", *arguments) as node:
            yield node

    # Observations

    def is_busy(self, search: str) -> bool:
        """Return whether two trials have ended and two others have reported progress."""
        rows, finished = self.trials(search), self.finished(search)
        assert {trial.status for trial in finished} <= {TrialStatus.SUCCEEDED}, finished
        running = [row for row in rows if row.status is TrialStatus.RUNNING and row.progress]
        return len(finished) == 2 and len(running) == 2

    def trials(self, search: str) -> list[TrialRow]:
        with self.database.read() as session:
            return list(trials.of_search(session, search))

    def running(self, search: str) -> list[Attempt]:
        """Return the attempts that workers run now, in the order in which they began."""
        rows = {(r.name, r.attempt) for r in self.trials(search) if r.status is TrialStatus.RUNNING}
        return [a for a in self.attempts(search) if (a.name, a.number) in rows]

    def finished(self, search: str) -> list[Finished]:
        """Return the trials that have ended, in the order in which they ended."""
        rows = [row for row in self.trials(search) if row.completion is not None]
        return [
            Finished(row.name, row.status, row.attempt, row.completion, row.score, row.params)
            for row in sorted(rows, key=lambda row: row.completion or 0)
        ]

    def attempts(self, search: str) -> list[Attempt]:
        return workers.attempts(self.notes, search)

    def reported(self, search: str) -> set[tuple[str, int]]:
        """Return the attempts whose report is in the artifact store."""
        reports = (self.artifacts / "searches" / search).glob("*/attempt-*/report.json")
        return {(path.parts[-3], int(path.parts[-2].removeprefix("attempt-"))) for path in reports}

    def reported_late(self, search: str) -> set[tuple[str, int]]:
        """Return the attempts whose report was written after the trial was requeued."""
        rows = {row.name: row.attempt for row in self.trials(search)}
        return {(name, number) for name, number in self.reported(search) if number < rows[name]}

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the service."""
        return marked(MARK, str(self.data_folder))

    def module(self, *arguments: str) -> psutil.Process | None:
        """Return the running process `python -m ARGUMENTS`, or None."""
        for process in self.processes():
            if _command(process)[1:] == ["-m", *arguments]:
                return process
        return None

    def trial_workers(self) -> list[psutil.Process]:
        """Return the worker processes that run a trial or wait for one."""
        return [p for p in self.processes() if "TrialTrainable" in "".join(_command(p))]

    def ray_head(self) -> psutil.Process | None:
        """Return the process `ray start --head`, the parent of all processes of the head node."""
        for process in self.processes():
            if _command(process)[1:5] == ["-m", "ray.scripts.scripts", "start", "--head"]:
                return process
        return None

    def setting(self, name: str) -> str:
        """Return the value of SEARCHD_<NAME> in the processes of the service."""
        coordinator = self.module("searchd.coordinator")
        assert coordinator is not None
        return coordinator.environ()[f"SEARCHD_{name}"]

    def drivers(self, search: str) -> list[psutil.Process]:
        wanted = f"--work=search-{search}"
        return [p for p in self.processes() if wanted in _command(p) and "-c" not in _command(p)]

    def is_running(self, search: str, name: str, attempt: int) -> bool:
        """Return whether a worker runs this attempt at a trial."""
        return (name, attempt) in [(a.name, a.number) for a in self.running(search)]

    def has_new_driver(self, search: str, old: int) -> bool:
        """Return whether a driver other than process `old` runs under its own lease."""
        return self.lease(search) > 1 and any(p.pid != old for p in self.drivers(search))

    def lease(self, resource: str) -> int:
        """Return the number of the last lease on the work of a data set, pool or search; 0: it was
        not leased yet."""
        with self.database.read() as session:
            return queue.of_resource(session, resource).lease

    def is_requeued(self, search: str) -> bool:
        """Return whether a search was requeued after its first driver was lost."""
        with self.database.read() as session:
            row = queue.of_resource(session, search)
        return row.status is WorkStatus.QUEUED or row.lease > 1

    def new_attempt(self, search: str, known: Iterable[Attempt]) -> bool:
        """Return whether a worker has begun an attempt that is not among `known`."""
        return len(self.attempts(search)) > len(list(known))

    # Waiting and checks

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 200) -> float:
        """Wait until the condition holds and return the seconds that it took."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < timeout_s, f"not within {timeout_s:g} s"
            time.sleep(0.05)
        return time.monotonic() - start

    def check_end(
        self,
        search: str,
        before: Iterable[Finished],
        *,
        late: Iterable[tuple[str, int]] = (),
        max_trials: int = MAX_TRIALS,
    ) -> None:
        """Check that the search ends, nothing was lost or trained twice, and no process is left.

        Args:
            search: Id of the search.
            before: Trials that had ended before the fault.
            late: Attempts whose report was written after the trial was given to another worker.
            max_trials: The search's budget.
        """
        ended = self.client.wait_for_search(search, poll_s=0.2)
        assert ended.status is SearchStatus.SUCCEEDED, ended.status_reason
        finished = self.finished(search)
        assert finished[: len(list(before))] == list(before)
        assert {trial.status for trial in finished} == {TrialStatus.SUCCEEDED}
        assert [trial.completion for trial in finished] == list(range(max_trials + 1))
        self._check_nothing_repeated(search, finished, set(late))
        self.wait_until(lambda: self.leftovers(search) == [], timeout_s=2 * LEASE_S)

    def leftovers(self, search: str) -> list[str]:
        """Return descriptions of what still exists and should not after the end of a search."""
        with self.database.read() as session:
            leased = queue.of_resource(session, search).status is WorkStatus.LEASED
        workers_left = {a.pid for a in self.attempts(search)} & {p.pid for p in self.processes()}
        return [
            *(["its work is leased"] if leased else []),
            *(f"driver {process.pid}" for process in self.drivers(search)),
            *(f"worker {pid}" for pid in workers_left),
        ]

    def _check_nothing_repeated(
        self, search: str, finished: list[Finished], late: set[tuple[str, int]]
    ) -> None:
        begun = [(attempt.name, attempt.number) for attempt in self.attempts(search)]
        assert len(begun) == len(set(begun))
        # The attempt that wrote its report is the one on record, and the last that was begun.
        recorded = {trial.name: trial.attempt for trial in finished}
        last = {name: max(n for other, n in begun if other == name) for name, _ in begun}
        assert recorded == last
        assert self.reported(search) == set(recorded.items()) | late


@contextmanager
def running_site(
    folder: Path, *, cpus: int = 2, environment: Mapping[str, str] | None = None
) -> Iterator[Site]:
    """Run `searchd up` on `folder`; end all its processes at the end of the block.

    Args:
        folder: An empty folder.
        cpus: Number of CPUs of the Ray cluster.
        environment: Environment variables in addition to `SETTINGS`.
    """
    (folder / "notes").mkdir(parents=True)
    variables = {
        **os.environ,
        **workers.ENVIRONMENT,
        **SETTINGS,
        workers.NOTES: str(folder / "notes"),
        **(environment or {}),
    }
    data = folder / "data"
    command = [sys.executable, "-m", "cli.main", "up", f"--data-folder={data}"]
    with (folder / "up.log").open("w") as output:
        process = subprocess.Popen(
            [*command, "--port=0", f"--cpus={cpus}"],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=variables,
        )
    assert process.stdout is not None
    ready = process.stdout.readline()
    try:
        assert ready.startswith("searchd is ready: "), (folder / "up.log").read_text()
        site = Site(folder, ready.split()[-1], process, variables)
        with contextlib.closing(site):
            yield site
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()
        left = marked(MARK, str(data))
        end(left)
    assert left == [], "`searchd up` left processes behind"


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send SIGKILL to all processes."""
    send(processes, signal.SIGKILL)


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to all processes that still run."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # ended meanwhile
        return []
