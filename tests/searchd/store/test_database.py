"""Transactions: all or nothing, readers see one snapshot. How they overlap: `test_concurrency`."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from benchmarks.postgresql import PostgresqlServer
from searchd.store import Database, paging, upgrade
from searchd.store.models import DatasetRow, TrialRow
from searchd.store.resources import datasets
from tests.searchd.store.factories import add_dataset, dataset_spec


def test_an_error_leaves_the_database_as_it_was(database: Database) -> None:
    def create_and_fail() -> None:
        with database.write() as session:
            datasets.create(session, dataset_spec())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        create_and_fail()
    with database.read() as session:
        assert paging.page(session, DatasetRow).items == []


def test_what_a_reader_changes_is_thrown_away(database: Database) -> None:
    add_dataset(database)
    with database.read() as session:
        datasets.get(session, "shapes").status_reason = "forged"
        session.flush()
    with database.read() as session:
        assert datasets.get(session, "shapes").status_reason == "every check passed"


def test_a_reader_sees_one_snapshot(shared: Database) -> None:
    add_dataset(shared)
    with shared.read() as reader:
        assert len(paging.page(reader, DatasetRow).items) == 1
        with shared.write() as writer:
            datasets.create(writer, dataset_spec("later"))
        reader.expire_all()
        assert len(paging.page(reader, DatasetRow).items) == 1


def test_foreign_keys_are_enforced(database: Database) -> None:
    columns = (
        "id, run_id, name, role, position, proposal, status, status_reason, attempt, created_at"
    )
    values = "'t', 's-none', 't', 'base', 0, '{}', 'pending', '', 0, '2026-01-01'"
    with pytest.raises(IntegrityError), database.write() as session:
        session.execute(text(f"INSERT INTO {TrialRow.__tablename__} ({columns}) VALUES ({values})"))


def test_sqlite_is_durable_and_lets_readers_and_a_writer_work_side_by_side(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new' / 'searchd.sqlite'}")
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
    with database.read() as session:
        values = [session.execute(text(f"PRAGMA {name}")).scalar_one() for name in pragmas]
    database.close()
    assert values == ["wal", 2, 1, 30_000]


def test_tables_in_memory_are_gone_with_the_database() -> None:
    for _ in range(2):
        database = Database("sqlite:///:memory:")
        upgrade(database)
        add_dataset(database)  # the name is free each time
        database.close()


def test_postgresql_waits_for_nobody_without_end(postgresql_database: Database) -> None:
    names = ("lock_timeout", "idle_in_transaction_session_timeout")
    with postgresql_database.read() as session:
        values = [session.execute(text(f"SHOW {name}")).scalar_one() for name in names]
    assert values == ["30s", "1min"]


def test_what_an_operator_asks_of_postgresql_wins(
    postgresql_server: PostgresqlServer,
) -> None:
    database = Database(f"{postgresql_server.url}&options=-c lock_timeout=5s")
    with database.read() as session:
        assert session.execute(text("SHOW lock_timeout")).scalar_one() == "5s"
    database.close()


def test_postgresql_that_does_not_answer_counts_as_away() -> None:
    assert _options("") == {
        "connect_timeout": 5,
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    assert _options("?connect_timeout=60")["connect_timeout"] == "60"


def _options(query: str) -> dict[str, object]:
    """What the client of PostgreSQL is told about the network."""
    database = Database(f"postgresql+psycopg://searchd@db/searchd{query}")
    reported: dict[str, object] = {}

    @event.listens_for(database.engine, "do_connect")
    def connect(_dialect: object, _record: object, _args: object, options: dict[str, Any]) -> None:
        reported.update(options)
        raise ConnectionError

    with pytest.raises(ConnectionError), database.read() as session:
        session.execute(text("SELECT 1"))
    network = ("connect_timeout", "tcp_user_timeout", "keepalives")
    return {name: value for name, value in reported.items() if name.startswith(network)}
