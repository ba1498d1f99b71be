"""A temporary PostgreSQL server from the installed binaries, for tests and benchmarks."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, make_url, text

BINARIES = Path("/usr/lib/postgresql/15/bin")
_USER = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root


class PostgresqlServer:
    """A server on a socket in a temporary folder, which only users of this machine can reach.

    Args:
        durable: Whether a commit waits for the disk, as in production. Tests need not.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="searchd-postgresql-"))
        if _USER:
            shutil.chown(self._folder, _USER)
        self._options = f"-c listen_addresses='' -c fsync={'on' if durable else 'off'}"
        self._run("initdb", "-U", "searchd", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> str:
        """The URL of the server's default database."""
        return f"postgresql+psycopg://searchd@/postgres?host={self._folder}"

    def start(self) -> None:
        """Start or restart the server, and wait until it is ready."""
        options = f"{self._options} -k {self._folder}"
        self._run("pg_ctl", "-w", "-l", self._folder / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; the mode "immediate" is like a crash."""
        self._run("pg_ctl", "-m", mode, "-w", "stop")

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Yield the URL of a new database without tables, which is dropped when the block ends."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield make_url(self.url).set(database=name).render_as_string(hide_password=False)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
            engine.dispose()

    def remove(self) -> None:
        """Delete the files of the server."""
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: Any) -> None:
        # The output goes to a file: a server that inherits a pipe would keep it open.
        with tempfile.TemporaryFile() as output:
            command = [str(BINARIES / program), "-D", str(self._folder / "data")]
            result = subprocess.run(
                [*command, *map(str, arguments)],
                cwd=self._folder,
                stdout=output,
                stderr=output,
                user=_USER,
            )
            output.seek(0)
            if result.returncode:
                raise RuntimeError(f"{program} failed: {output.read().decode()}")


@contextmanager
def running(*, durable: bool = False) -> Iterator[PostgresqlServer]:
    """Yield a running server, which is removed when the block ends."""
    server = PostgresqlServer(durable=durable)
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        server.remove()
