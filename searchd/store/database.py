"""The connection to the database: SQLite on one machine (a file, or memory), or PostgreSQL.

Each `with database.read()` or `with database.write()` block is one transaction. Nothing slow
(network, training, files) happens within a block. An error within it is rolled back.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError
from sqlalchemy.orm import Session

from searchd.domain.errors import InvalidValueError

_BUSY_TIMEOUT_MS = 30_000
"""Milliseconds that a writer waits for another process: for the write lock of SQLite, or for the
lock of a row of PostgreSQL."""
_IDLE_TIMEOUT_MS = 60_000
"""Milliseconds after which PostgreSQL ends a transaction that is idle: its process is frozen, and
others wait for the rows that it has locked."""
_NETWORK = {
    "connect_timeout": 5,  # s
    "tcp_user_timeout": 10_000,  # ms, for sent data that is not acknowledged
    "keepalives_idle": 10,  # s without data, until the first keepalive probe
    "keepalives_interval": 5,  # s between two probes
    "keepalives_count": 3,  # unanswered probes, after which the connection is closed
}
"""Timeouts of PostgreSQL's client, whose own defaults are minutes or infinite. Values in the URL
take precedence."""
_MAX_CONNECTIONS = 40
"""Maximum number of connections of one process; the API has as many threads. They are opened on
demand."""
_URLS = "write sqlite:////FOLDER/FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"
_WRITES = "searchd_writes"


class Database:
    """An open database. Safe to share between threads; sessions are not.

    Args:
        url: SQLAlchemy URL: sqlite:///path or postgresql+psycopg://... With sqlite:///:memory: the
            tables exist as long as this object, and there is one connection: opening a second
            session within a first is a deadlock.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        sqlite = self.engine.dialect.name == "sqlite"
        # SQLite reads one snapshot for the whole transaction; configure PostgreSQL to do the same.
        self._reader = (
            self.engine
            if sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._writer = self.engine.execution_options(**{_WRITES: True})
        # SQLite writers poll for the lock, which is unfair; within a process they queue here.
        self._write_lock = threading.RLock() if sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session that sees one snapshot. Its changes are discarded."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session whose changes are committed when the block is left without an error.

        On SQLite there is one writer at a time; the others wait here.
        """
        with (
            self._write_lock,
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection in a writing transaction, for migrations.

        On SQLite, a column is changed by copying its table and dropping the original, which rows of
        other tables refer to. So foreign keys are checked once, at the end.

        Raises:
            IntegrityError: On SQLite: a row refers to one that does not exist. Nothing was changed.
        """
        with self._writer.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            raw: Any = connection.connection.driver_connection
            if sqlite:
                raw.execute("PRAGMA foreign_keys=OFF")  # has no effect within a transaction
            try:
                with connection.begin():
                    yield connection
                    if sqlite:
                        _check_foreign_keys(connection)
            finally:
                if sqlite:
                    raw.execute("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _engine(url: str) -> Engine:
    parsed = _checked_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _postgresql(parsed)
    in_memory = parsed.database in (None, "", ":memory:")
    if parsed.database and not in_memory:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        poolclass=QueuePool,  # in memory, each connection would have its own tables
        pool_size=1 if in_memory else _MAX_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT_MS / 1000,
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _checked_url(url: str) -> URL:
    """Parse the URL of a database. Messages do not contain it: it may hold a password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidValueError(f"SEARCHD_DATABASE_URL is not a URL; {_URLS}") from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise InvalidValueError(
            f"SEARCHD_DATABASE_URL begins with {parsed.drivername}://, which searchd does not "
            f"support; {_URLS}"
        )
    return parsed


def _postgresql(url: URL) -> Engine:
    limits = (
        f"-c lock_timeout={_BUSY_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_IDLE_TIMEOUT_MS}"
    )
    given = url.query.get("options", "")  # come last, so they take precedence
    network = {name: value for name, value in _NETWORK.items() if name not in url.query}
    return create_engine(
        url,
        connect_args={**network, "options": f"{limits} {given}"},
        pool_pre_ping=True,
        pool_size=_MAX_CONNECTIONS,
        max_overflow=0,
    )


def _check_foreign_keys(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise IntegrityError("PRAGMA foreign_key_check", None, ValueError(str(tuple(broken))))


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")  # readers do not block the writer
    cursor.execute("PRAGMA synchronous=FULL")  # what was committed survives a power cut
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once if another wrote in between,
    # without waiting for busy_timeout; one that begins IMMEDIATE waits for the lock.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
