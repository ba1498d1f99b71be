"""Databases that the store's tests run on: SQLite, and PostgreSQL where it is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from searchd.store import Database, downgrade, upgrade

_POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
_USER = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server of this test run, on a socket in a temporary folder."""
    if not _POSTGRESQL.is_dir():
        pytest.skip(f"PostgreSQL is not installed in {_POSTGRESQL}")
    pytest.importorskip("psycopg")
    folder = Path(tempfile.mkdtemp(prefix="searchd-postgresql-"))
    if _USER:
        shutil.chown(folder, _USER)
    data = folder / "data"
    _run("initdb", "-D", data, "-U", "searchd", "-A", "trust", "--no-sync", cwd=folder)
    listen = f"-c listen_addresses='' -c fsync=off -k {folder}"
    _run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", listen, "start", cwd=folder)
    try:
        yield f"postgresql+psycopg://searchd@/postgres?host={folder}"
    finally:
        _run("pg_ctl", "-D", data, "-m", "immediate", "stop", cwd=folder)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'searchd.sqlite'}"
        return
    server: str = request.getfixturevalue("postgresql_server")
    yield server
    downgrade(server, "base")


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An empty database with all tables."""
    upgrade(url)
    opened = Database(url)
    yield opened
    opened.close()


def _run(program: str, *arguments: Any, cwd: Path) -> None:
    # The output goes to a file: a server that inherits a pipe would keep it open.
    with tempfile.TemporaryFile() as output:
        command = [str(_POSTGRESQL / program), *map(str, arguments)]
        result = subprocess.run(command, cwd=cwd, stdout=output, stderr=output, user=_USER)
        output.seek(0)
        assert result.returncode == 0, output.read().decode()
