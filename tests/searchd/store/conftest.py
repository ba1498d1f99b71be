"""The databases that the store's tests run on, one suite over all: SQLite in memory and in a file,
and PostgreSQL where it is installed.

`database` is any of them. `shared` is one that several processes can use, for tests in which
transactions overlap: in memory there is one connection, so that they never do. `url` names one
without tables, for tests of migrations.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.postgresql import PostgresqlServer
from searchd.store import Database, upgrade
from searchd.store.base import Base

MEMORY, SQLITE, POSTGRESQL = "memory", "sqlite", "postgresql"


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == SQLITE:
        yield f"sqlite:///{tmp_path / 'searchd.sqlite'}"
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql_server")
    with server.database("empty") as made:
        yield made


@pytest.fixture(scope="session")
def memory_database() -> Iterator[Database]:
    """One for all tests: an open database keeps the statements that it has compiled."""
    with closing(Database("sqlite:///:memory:")) as opened:
        upgrade(opened)
        yield opened


@pytest.fixture(scope="session")
def sqlite_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Like `memory_database`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'searchd.sqlite'}"
    with closing(Database(url)) as opened:
        upgrade(opened)
        yield opened


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: PostgresqlServer) -> Iterator[Database]:
    """Like `memory_database`."""
    with postgresql_server.database("tests") as url, closing(Database(url)) as opened:
        upgrade(opened)
        yield opened


@pytest.fixture(params=[MEMORY, SQLITE, POSTGRESQL])
def database(request: pytest.FixtureRequest) -> Database:
    """An empty database with all tables."""
    return emptied(request.getfixturevalue(f"{request.param}_database"))


@pytest.fixture(params=[SQLITE, POSTGRESQL])
def shared(request: pytest.FixtureRequest) -> Database:
    """An empty database with all tables, for transactions that overlap."""
    return emptied(request.getfixturevalue(f"{request.param}_database"))


def emptied(database: Database) -> Database:
    """The same without a row."""
    with database.connect() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    return database
