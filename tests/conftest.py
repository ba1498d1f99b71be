"""What tests of several packages share: a PostgreSQL server."""

from collections.abc import Iterator

import pytest

from benchmarks import postgresql
from benchmarks.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """One for this test run, on a socket in a temporary folder."""
    if not postgresql.BINARIES.is_dir():
        pytest.skip(f"PostgreSQL is not installed in {postgresql.BINARIES}")
    pytest.importorskip("psycopg")
    with postgresql.running() as server:
        yield server
