"""The service on one machine: a Ray head, the coordinator and the API as child processes.

All files are in one data folder. Every child has the environment variable SEARCHD_UP, so that
exactly the processes started here are found and ended, including those of an earlier start that was
killed. Other Ray clusters on the machine are not touched.
"""

import fcntl
import logging
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

import httpx
import ray.util

from cli import ports
from cli.child_processes import Child, end, free_ports, marked
from searchd import settings
from searchd.domain.errors import ConflictError, SearchdError
from searchd.store import Database, upgrade
from searchd.store.base import now
from searchd.store.work import queue

log = logging.getLogger(__name__)

MARK = "SEARCHD_UP"
"""Environment variable of every process started here; its value is the data folder."""
_LOOPBACK = "127.0.0.1"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_OBJECT_STORE_BYTES = 256 * 2**20
"""Size of Ray's object store, which only tasks and reports pass through."""
_START_TIMEOUT_S = 90.0
_HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
"""Ray declares a node dead that does not respond for 4 x (2 + 5) s; by default, 5 x (3 + 10) s."""


class StartError(SearchdError):
    """A process of the service did not start; the message names its log."""


class Service:
    """The processes of searchd. `with Service(folder) as service: ... service.url ...`

    Args:
        data_folder: Folder for all files; it is created if it is missing.
        num_cpus: Number of CPUs that Ray may assign. None uses all CPUs of this machine.
        api_port: Port of the API. 0 chooses a free one. None uses the settings.
        environment: Further environment variables of all processes.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        num_cpus: int | None = None,
        api_port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.data_folder = data_folder.resolve()
        self.log_folder = self.data_folder / "logs"
        self.token_file = self.data_folder / "run" / "ray-token"
        """The file with the token of Ray and its dashboard; readable by its owner only."""
        self._ray_folder = self.data_folder / "ray"
        self._short_path_note = self.data_folder / "run" / "ray-short-path"
        self._num_cpus = num_cpus
        self._further_environment = dict(environment or {})
        gcs, dashboard, self._client_port, *self._metric_ports, free = free_ports(6)
        given = settings.load()
        own = {} if "cluster_nodes" in given.model_fields_set else {"cluster_nodes": "present"}
        self.settings = given.model_copy(
            update=own
            | {
                "data_folder": self.data_folder,
                "ray_address": f"{_node_address()}:{gcs}",
                "ray_dashboard_url": f"http://{_LOOPBACK}:{dashboard}",
                "api_port": (given.api_port if api_port is None else api_port) or free,
                "instance": secrets.token_hex(8),
            }
        )
        self._children: list[Child] = []
        self._lock: IO[str] | None = None
        self._short_path: Path | None = None

    @property
    def url(self) -> str:
        """The URL of the API and the web page."""
        return f"http://{self.settings.api_host}:{self.settings.api_port}"

    @property
    def dashboard_url(self) -> str:
        """The URL of Ray's dashboard, which requires the token."""
        return self.settings.ray_dashboard_url

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all processes and wait until they are ready.

        Raises:
            ConflictError: Another `searchd up` uses this data folder, or another program the port.
            InvalidValueError: The settings would give everybody access, or nobody can listen on
                the port.
            StartError: A process ended, or was not ready in time. All processes were stopped again.
        """
        self.settings.check_access()
        for folder in (self.token_file.parent, self.log_folder, self._ray_folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.data_folder)
        try:
            self._clean_up_after_predecessor()
            ports.check_free(self.settings.api_host, self.settings.api_port)
            upgrade(self.settings.database)
            self._free_abandoned_work()
            self._start_children()
        except BaseException:  # also Ctrl-C: processes that were started must not remain
            self.stop()
            raise
        log.info("searchd is ready at %s", self.url)

    def check(self) -> list[str]:
        """Restart the processes that have ended, with back-off.

        Returns:
            Names of the processes that were started.
        """
        if self._children and self._children[0].exit_code is not None:
            self._end_what_ray_left()
        return [child.name for child in self._children if child.keep_running()]

    def _end_what_ray_left(self) -> None:
        """End the remaining processes and drivers of a Ray head that has ended. They cannot work
        without it, and Ray refuses to start at the same address while one of them is running."""
        others = [child.process.pid for child in self._children[1:] if child.process is not None]
        remains = [p for p in marked(MARK, str(self.data_folder)) if p.pid not in others]
        log.warning("Ray has ended; ending %d processes that it left", len(remains))
        end(remains)

    def stop(self) -> None:
        """End every process that was started here, and no other. A second Ctrl-C has no effect
        during this: it would leave processes behind."""
        with _uninterrupted():
            self._stop()

    def _stop(self) -> None:
        has_started = bool(self._children)
        for child in reversed(self._children):  # Ray last: the others use it
            child.stop()
        self._children = []
        if self._lock is None:
            return
        for process in end(marked(MARK, str(self.data_folder))):
            log.error("process %d could not be ended: %s", process.pid, process)
        if self._short_path is not None:
            shutil.rmtree(self._short_path)
            self._short_path_note.unlink()
            self._short_path = None
        self._lock.close()
        self._lock = None
        if has_started:
            log.info("searchd has stopped")

    def describe(self) -> str:
        """Describe the running service to the user: URLs, access and folders."""
        return (
            f"searchd is ready: {self.url}\n"
            f"{self._who_may_call()}\n"
            f"Ray dashboard:    {self.dashboard_url}\n"
            f"                  requires a token once: the content of {self.token_file}\n"
            f"Data folder:      {self.data_folder} (logs in {self.log_folder})"
        )

    def _who_may_call(self) -> str:
        if self.settings.auth:
            return "                  requires a token; create one with: searchd token create"
        return "                  without authentication: open to everybody on this machine"

    def _clean_up_after_predecessor(self) -> None:
        leftovers = marked(MARK, str(self.data_folder))
        if leftovers:
            log.warning("ending %d processes of an earlier start that was killed", len(leftovers))
            end(leftovers)
        if self._short_path_note.exists():
            shutil.rmtree(self._short_path_note.read_text(), ignore_errors=True)
        shutil.rmtree(self._ray_folder)
        self._ray_folder.mkdir()

    def _free_abandoned_work(self) -> None:
        """Requeue all leased work: its drivers belonged to an earlier start, which has ended."""
        if self.settings.database_url.get_secret_value():
            return  # a shared database: other machines may hold leases
        with closing(Database(self.settings.database)) as database, database.write() as session:
            for row in queue.leased(session):
                reason = "searchd was restarted"
                queue.requeue(session, queue.lease_of(row), reason, delay_s=0, now=now())

    def _start_children(self) -> None:
        environment = self._environment()
        head = self._start_child("ray", ["ray.scripts.scripts", *self._ray_options()], environment)
        token = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
        self._await(head, lambda: _answers(f"{self.dashboard_url}/api/version", token))
        self._start_child("coordinator", ["searchd.coordinator"], environment)
        api = self._start_child("api", ["api"], environment)
        self._await(api, self._api_is_ours)

    def _start_child(self, name: str, module: list[str], environment: Mapping[str, str]) -> Child:
        child = Child(
            name,
            command=[sys.executable, "-m", *module],
            environment=environment,
            folder=self.data_folder,
            log_file=self.log_folder / f"{name}.log",
        )
        self._children.append(child)
        child.start()
        return child

    def _environment(self) -> dict[str, str]:
        # RAY_ADDRESS, RAY_AUTH_TOKEN and others of another Ray must not reach this one, nor the
        # user's access token a worker.
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("RAY_") and name != "SEARCHD_TOKEN"
        }
        binaries = str(Path(sys.executable).parent)
        autoscaler_port, dashboard_port = self._metric_ports
        return {
            **inherited,
            **self.settings.environment(),
            "PATH": os.pathsep.join([binaries, os.environ.get("PATH", os.defpath)]),
            "PYTHONUNBUFFERED": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": _token(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray would drop lines that differ only in the name of a trial as repetitions.
            "RAY_DEDUP_LOGS": "0",
            "RAY_COLOR_PREFIX": "0",
            # Otherwise Ray 2.60 waits 30 s for running jobs when it is stopped.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            **_HEALTH_CHECKS,
            "AUTOSCALER_METRIC_PORT": str(autoscaler_port),
            "DASHBOARD_METRIC_PORT": str(dashboard_port),
            MARK: str(self.data_folder),
            **self._further_environment,
        }

    def _ray_options(self) -> list[str]:
        # The path of a socket has at most 107 characters, and the data folder may have a longer
        # one: Ray gets a short link to it.
        self._short_path = Path(tempfile.mkdtemp(prefix="searchd-"))
        self._short_path_note.write_text(str(self._short_path))
        ray_folder = self._short_path / "ray"
        ray_folder.symlink_to(self._ray_folder)
        host, _, gcs_port = self.settings.ray_address.partition(":")
        options = {
            "node-ip-address": host,
            "port": gcs_port,
            "dashboard-host": _LOOPBACK,
            "dashboard-port": self.dashboard_url.rpartition(":")[2],
            "ray-client-server-port": str(self._client_port),
            # 0: any free port. Ray's defaults would collide with another Ray on the machine.
            "dashboard-agent-listen-port": "0",
            "min-worker-port": "0",
            "max-worker-port": "0",
            "object-store-memory": str(_OBJECT_STORE_BYTES),
            "temp-dir": str(ray_folder),
            "log-style": "record",
            "log-color": "false",
        }
        if self._num_cpus is not None:
            options["num-cpus"] = str(self._num_cpus)
        arguments = [f"--{name}={value}" for name, value in options.items()]
        return ["start", "--head", "--block", "--disable-usage-stats", *arguments]

    def _api_is_ours(self) -> bool:
        """Whether the API of this start answers, and not that of another searchd."""
        found = ports.identity(self.url)
        return found is not None and found["instance"] == self.settings.instance

    def _await(self, child: Child, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_ready():
            if child.exit_code is not None:
                raise StartError(
                    f"{child.name} ended with exit code {child.exit_code}; {child.tail()}"
                )
            if time.monotonic() > deadline:
                raise StartError(
                    f"{child.name} was not ready within {_START_TIMEOUT_S:.0f} s; {child.tail()}"
                )
            time.sleep(0.2)


def run(service: Service, ready: Callable[[str], None]) -> None:
    """Run the service until SIGINT or SIGTERM.

    Args:
        service: The service, not started yet.
        ready: Called with a description for the user once all processes are ready.

    Raises:
        ConflictError, StartError: See `Service.start`.
    """
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    with service:
        signal.signal(signal.SIGINT, on_signal)
        ready(service.describe())
        while not stop.wait(1.0):
            service.check()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM inside the block; only the main thread receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _node_address() -> str:
    # Not loopback: Ray 2.60 replaces 127.0.0.1 by this address, and then does not find itself.
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]  # Ray has no types here


def _lock(data_folder: Path) -> IO[str]:
    file = (data_folder / "run" / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read()
        file.close()
        raise ConflictError(
            f"data folder {data_folder} is in use by another `searchd up` (process {holder}); "
            "stop that one, or choose another folder"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _token(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text()


def _answers(url: str, headers: Mapping[str, str]) -> bool:
    try:
        # Without trust_env, so that the user's proxy is not used for processes on this machine.
        response = httpx.get(url, headers=dict(headers), timeout=5.0, trust_env=False)
    except httpx.TransportError:
        return False
    return response.is_success
