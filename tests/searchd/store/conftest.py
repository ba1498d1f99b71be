"""Databases that the store's tests run on: SQLite, and PostgreSQL where it is installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from searchd.store import Database, upgrade
from searchd.store.base import Base

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
    with _postgresql_database(server, "empty") as made:
        yield made


@pytest.fixture(scope="session")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One for all tests: an open database keeps the statements that it has compiled."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'searchd.sqlite'}"
    upgrade(url)
    opened = Database(url)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> Iterator[Database]:
    """Like `sqlite_database`."""
    with _postgresql_database(postgresql_server, "tests") as url:
        upgrade(url)
        opened = Database(url)
        yield opened
        opened.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database with all tables."""
    opened: Database = request.getfixturevalue(f"{request.param}_database")
    with opened.connect() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return opened


@contextmanager
def _postgresql_database(server: str, name: str) -> Iterator[str]:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def _run(program: str, *arguments: Any, cwd: Path) -> None:
    # The output goes to a file: a server that inherits a pipe would keep it open.
    with tempfile.TemporaryFile() as output:
        command = [str(_POSTGRESQL / program), *map(str, arguments)]
        result = subprocess.run(command, cwd=cwd, stdout=output, stderr=output, user=_USER)
        output.seek(0)
        assert result.returncode == 0, output.read().decode()
