"""A PostgreSQL server that a test stops and starts."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_BINARIES = Path("/usr/lib/postgresql/15/bin")
_USER = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root


class Server:
    """A server that listens on a socket in its own folder.

    Args:
        folder: Empty, and short: the path of a socket has at most 107 characters.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data = folder / "data"
        self._run("initdb", "-D", self._data, "-U", "searchd", "-A", "trust", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://searchd@/postgres?host={self._folder}"

    def start(self) -> None:
        """Start the server and return when it answers."""
        options = f"-c listen_addresses='' -c fsync=off -k {self._folder}"
        log = self._folder / "log"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """Stop the server and close all connections, even inside transactions."""
        self._run("pg_ctl", "-D", self._data, "-m", "fast", "stop")

    def _run(self, program: str, *arguments: object) -> None:
        # The output goes to a file: a server that inherits a pipe would keep it open.
        with tempfile.TemporaryFile() as output:
            command = [str(_BINARIES / program), *map(str, arguments)]
            result = subprocess.run(
                command, cwd=self._folder, stdout=output, stderr=output, user=_USER
            )
            output.seek(0)
            assert result.returncode == 0, output.read().decode()


@contextmanager
def running_server() -> Iterator[Server]:
    """Start a new server. Skips the test where PostgreSQL is not installed."""
    if not _BINARIES.is_dir():
        pytest.skip(f"PostgreSQL is not installed in {_BINARIES}")
    folder = Path(tempfile.mkdtemp(prefix="searchd-postgresql-"))
    if _USER:
        shutil.chown(folder, _USER)
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)
