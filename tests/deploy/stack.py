"""The services of docker-compose.yml as processes of this machine: their own commands, environments
and secrets, with names of containers replaced by loopback and ports by free ones.

The control plane runs on the Python of SEARCHD_CONTROL_PYTHON, which has no torch, like its image.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray.util

from benchmarks.postgresql import BINARIES
from cli.child_processes import Child, end, free_ports, marked
from tests.deploy.compose import ROOT, command_of, new_env, rendered, secrets_of

MARK = "SEARCHD_TEST_STACK"
CONTROL_PYTHON = os.environ.get("SEARCHD_CONTROL_PYTHON", str(ROOT / ".venv-control/bin/python"))
_WEED = str(Path(sys.executable).with_name("weed"))
_ONE_HOST = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
"""Options of Ray that several nodes of one machine need."""
_START_TIMEOUT_S = 180.0


@dataclass
class Stack:
    """The running services.

    Args:
        folder: A short path, for the sockets of PostgreSQL and Ray.
    """

    folder: Path
    children: dict[str, Child] = field(default_factory=dict)

    _is_closing: threading.Event = field(default_factory=threading.Event)
    _changing: threading.Lock = field(default_factory=threading.Lock)
    """Held while children are added or taken away, and while they are restarted: one that is being
    started or stopped is not restarted."""

    def __post_init__(self) -> None:
        self.env = new_env(self.folder / "env")
        names = ("postgres", "s3", "gcs", "dashboard", "api", "client", *_WEED_PORTS)
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.services: dict[str, Any] = rendered(self.env)["services"]
        self.datasets = self.folder / "datasets"
        self.datasets.mkdir()
        (self.folder / "objects").mkdir()
        self._write_secrets()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def database_url(self) -> str:
        return self._local(self.env["SEARCHD_SETTINGS"]).partition("=")[2]

    def start(self, *names: str) -> None:
        """Start services in this order; each when the one before is healthy."""
        for name in names:
            child = Child(
                name,
                command=[*self._program(name), *self._further_options(name)],
                environment=self.environment(name),
                folder=ROOT,
                log_file=self.folder / f"{name}.log",
            )
            child.start()
            with self._changing:
                self.children[name] = child
            self.wait_until(lambda: self.is_healthy(child.name), name)  # noqa: B023  # called here

    def stop(self, *names: str) -> None:
        """Stop services, as `docker compose stop` does."""
        for name in names:
            with self._changing:
                child = self.children.pop(name)
            child.stop()

    def is_healthy(self, service: str) -> bool:
        """Run the health check that docker-compose.yml gives; True without one."""
        given = self.services[service].get("healthcheck")
        if given is None:
            return True
        command = [self._local(part) for part in given["test"][1:]]
        checks = {"wget": ["curl", "-fs", command[-1]], "pg_isready": self._pg_isready()}
        run = checks.get(command[0]) or self._executable(service, command)
        result = subprocess.run(run, env=self.environment(service), capture_output=True)
        return result.returncode == 0

    def run(self, service: str, *command: str, **variables: str) -> str:
        """Run a command with the environment of a service, as `docker compose exec` does."""
        done = subprocess.run(
            self._executable(service, list(command)),
            env={**self.environment(service), **variables},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service: that of the compose file, and nothing of ours."""
        given = self.services[service].get("environment", {})
        own = {"SEARCHD_API_PORT": str(self.ports["api"])} if service == "api" else {}
        return {
            "PATH": os.pathsep.join([self._python(service).parent.as_posix(), os.defpath]),
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            MARK: str(self.folder),
            **{name: self._local(str(value)) for name, value in given.items()},
            **own,
        }

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds; fail with the log of this service after a time."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {self.children[what].tail()}"
            time.sleep(0.5)

    def supervise(self) -> None:
        """Restart services that have ended, as `restart: unless-stopped` does, until `close`. A
        Ray node gives up when it does not start within half a minute."""
        while not self._is_closing.wait(1.0):
            with self._changing:
                for child in self.children.values():
                    child.keep_running()

    def close(self) -> None:
        self._is_closing.set()
        for name in reversed(list(self.children)):
            self.stop(name)
        assert end(marked(MARK, str(self.folder))) == []

    def _program(self, service: str) -> list[str]:
        if service == "postgres":
            return self._postgres()
        return self._executable(
            service, [self._local(p) for p in command_of(self.services[service])]
        )

    def _executable(self, service: str, command: list[str]) -> list[str]:
        """Return the command with the programs of this machine."""
        python = str(self._python(service))
        programs: Mapping[str, list[str]] = {
            "python": [python],
            "ray": [python, "-m", "ray.scripts.scripts"],
            "searchd": [python, "-m", "cli.main"],
            "server": [_WEED, "server"],
        }
        return [*programs[command[0]], *command[1:]]

    def _python(self, service: str) -> Path:
        is_worker = self.services[service].get("image") == "searchd-worker"
        return Path(sys.executable if is_worker else CONTROL_PYTHON)

    def _further_options(self, service: str) -> list[str]:
        if service == "artifacts":
            ports = (f"-{name}={self.ports[name]}" for name in _WEED_PORTS)
            return ["-ip.bind=127.0.0.1", *ports]
        if service == "ray-head":
            host = f"--node-ip-address={_node_address()}"
            client = f"--ray-client-server-port={self.ports['client']}"
            return [*_ONE_HOST, host, client, f"--temp-dir={self.folder / 'ray'}", *_MEMORY]
        if service.startswith("ray-worker"):
            return [*_ONE_HOST, "--num-cpus=2", *_MEMORY]
        return []

    def _local(self, text: str) -> str:
        """Replace what only exists in containers."""
        for name, here in {
            "postgres:5432": f"127.0.0.1:{self.ports['postgres']}",
            "artifacts:8333": f"127.0.0.1:{self.ports['s3']}",
            "127.0.0.1:8333": f"127.0.0.1:{self.ports['s3']}",
            "-s3.port=8333": f"-s3.port={self.ports['s3']}",
            "-ip=artifacts": "-ip=127.0.0.1",
            "-dir=/data": f"-dir={self.folder / 'objects'}",
            "ray-head:6379": f"{_node_address()}:{self.ports['gcs']}",
            "127.0.0.1:6379": f"{_node_address()}:{self.ports['gcs']}",
            "--port=6379": f"--port={self.ports['gcs']}",
            "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.1",
            "ray-head:8265": f"127.0.0.1:{self.ports['dashboard']}",
            "--dashboard-port=8265": f"--dashboard-port={self.ports['dashboard']}",
            "127.0.0.1:8080": f"127.0.0.1:{self.ports['api']}",
            "0.0.0.0": "127.0.0.1",
            "/run/secrets": str(self.folder / "secrets"),
            "/cache": str(self.folder / "cache"),
            "/tmp/searchd": str(self.folder / "data"),
        }.items():
            text = text.replace(name, here)
        return str(self.datasets) if text == "/datasets" else text

    def _write_secrets(self) -> None:
        folder = self.folder / "secrets"
        folder.mkdir()
        names = {s for service in self.services.values() for s in secrets_of(service)}
        for name in names:
            file = folder / name
            file.write_text(self._local(self.env[name.upper()]))
            file.chmod(0o400)

    def _postgres(self) -> list[str]:
        """Make a database as the image of PostgreSQL does; return the command of its server."""
        data, port = self.folder / "postgres", self.ports["postgres"]
        password = self.folder / "initial-password"
        password.write_text(self.env["POSTGRES_PASSWORD"])
        for path in (self.folder, password):
            path.chmod(0o755)
        data.mkdir()
        as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        if os.geteuid():
            as_user = []
        else:
            shutil.chown(data, "nobody")
        init = ["-U", "searchd", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync"]
        for command, given in (
            (["initdb", "-D", str(data), *init], ""),
            (["postgres", "--single", "-D", str(data), "postgres"], "CREATE DATABASE searchd"),
        ):
            program = [*as_user, str(BINARIES / command[0]), *command[1:]]
            subprocess.run(program, input=given, check=True, capture_output=True, text=True)
        options = ["-k", str(data), "-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]
        return [*as_user, str(BINARIES / "postgres"), "-D", str(data), *options]

    def _pg_isready(self) -> list[str]:
        port = str(self.ports["postgres"])
        return [str(BINARIES / "pg_isready"), "-U", "searchd", "-h", "127.0.0.1", "-p", port]


_WEED_PORTS = (
    "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
    "filer.port.grpc", "s3.port.grpc",
)  # fmt: skip
_MEMORY = ["--object-store-memory=104857600"]


def _node_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]  # no types there


@contextmanager
def running_stack(folder: Path) -> Iterator[Stack]:
    """Yield a stack without any service running; end all its processes at the end."""
    with contextlib.closing(Stack(folder)) as stack:
        threading.Thread(target=stack.supervise, daemon=True).start()
        yield stack
