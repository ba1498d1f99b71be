"""The connection to the database: SQLite on one machine (a file, or memory), or PostgreSQL.

One step is one transaction: open `read()` or `write()`, do what must be atomic, leave. Nothing slow
(network, training, files) happens inside. An error inside leaves the database as it was.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

_BUSY_TIMEOUT_MS = 30_000
"""How long a writer waits for another process: for SQLite's only turn, or for PostgreSQL's row."""
_IDLE_TIMEOUT_MS = 60_000
"""After which PostgreSQL ends a transaction in which nothing happens: its process is frozen, and
others wait for the rows that it has locked."""
_NETWORK = {
    "connect_timeout": 5,  # s, until a server that does not answer counts as away
    "tcp_user_timeout": 10_000,  # ms, until what was sent to one that is gone counts as lost
    "keepalives_idle": 10,  # s, after which one that is silent is asked whether it is there
    "keepalives_interval": 5,  # s, between two such questions
    "keepalives_count": 3,  # after so many without an answer it is gone
}
"""PostgreSQL's client waits for minutes or for ever by itself. The URL's own values win."""
_MAX_CONNECTIONS = 40
"""Of one process; as many as the API has threads. They are opened when they are needed."""
_WRITES = "searchd_writes"


class Database:
    """An open database. Safe to share between threads; sessions are not.

    Args:
        url: SQLAlchemy URL: sqlite:///path or postgresql+psycopg://... With sqlite:///:memory: the
            tables live as long as this object, whose users take turns: whoever opens a second
            session inside a first waits for itself, in vain.
    """

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        sqlite = self.engine.dialect.name == "sqlite"
        # SQLite reads one snapshot for the whole transaction; ask PostgreSQL for the same.
        self._reader = (
            self.engine
            if sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._writer = self.engine.execution_options(**{_WRITES: True})
        # SQLite lets writers try again and again until one is lucky; here they queue.
        self._turn = threading.RLock() if sqlite else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one snapshot. What it changes is thrown away."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed together when the block is left without error.

        On SQLite there is one writer at a time; the others wait here.
        """
        with (
            self._turn,
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection in a writing transaction, for migrations.

        SQLite changes a column by copying its table and dropping the original, to which the rows
        of other tables refer; so it looks at foreign keys once, at the end.

        Raises:
            IntegrityError: On SQLite: a row refers to one that is not there. Nothing was changed.
        """
        with self._writer.connect() as connection:
            sqlite = connection.dialect.name == "sqlite"
            raw: Any = connection.connection.driver_connection
            if sqlite:
                raw.execute("PRAGMA foreign_keys=OFF")  # of no effect inside a transaction
            try:
                with connection.begin():
                    yield connection
                    if sqlite:
                        _check_foreign_keys(connection)
            finally:
                if sqlite:
                    raw.execute("PRAGMA foreign_keys=ON")

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _postgresql(parsed)
    in_memory = parsed.database in (None, "", ":memory:")
    if parsed.database and not in_memory:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed,
        connect_args={"timeout": _BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        poolclass=QueuePool,  # in memory, each connection would have tables of its own
        pool_size=1 if in_memory else _MAX_CONNECTIONS,
        max_overflow=0,
        pool_timeout=_BUSY_TIMEOUT_MS / 1000,
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(url: URL) -> Engine:
    limits = (
        f"-c lock_timeout={_BUSY_TIMEOUT_MS} "
        f"-c idle_in_transaction_session_timeout={_IDLE_TIMEOUT_MS}"
    )
    given = url.query.get("options", "")  # the operator's own come last, and win
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
    # A transaction that reads first and writes later fails at once when another wrote in between,
    # without waiting for busy_timeout; one that begins IMMEDIATE waits for its turn.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
