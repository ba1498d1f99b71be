"""Transactions: all or nothing, one writer at a time, readers see one snapshot."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from searchd.store import Database, datasets, events, work
from searchd.store.models import TrialRow
from tests.searchd.store.factories import add_dataset, add_search, dataset_spec


def test_an_error_leaves_the_database_as_it_was(database: Database) -> None:
    def create_and_fail() -> None:
        with database.write() as session:
            datasets.create(session, dataset_spec())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        create_and_fail()
    with database.read() as session:
        assert datasets.page(session).items == []


def test_what_a_reader_changes_is_thrown_away(database: Database) -> None:
    add_dataset(database)
    with database.read() as session:
        datasets.get(session, "shapes").status_reason = "forged"
        session.flush()
    with database.read() as session:
        assert datasets.get(session, "shapes").status_reason == "every check passed"


def test_a_reader_sees_one_snapshot(database: Database) -> None:
    add_dataset(database)
    with database.read() as reader:
        assert len(datasets.page(reader).items) == 1
        with database.write() as writer:
            datasets.create(writer, dataset_spec("later"))
        reader.expire_all()
        assert len(datasets.page(reader).items) == 1


def test_writers_at_the_same_time_all_get_their_turn(database: Database) -> None:
    dataset_id = add_dataset(database)

    def append(number: int) -> None:
        with database.write() as session:
            events.append(session, dataset_id, subject="x", status="x", message=str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(append, range(40)))
    with database.read() as session:
        numbers = [event.number for event in events.after(session, dataset_id)]
    assert numbers == list(range(1, 45))


def test_one_of_many_gets_the_lease(database: Database) -> None:
    search = add_search(database)

    def lease(owner: int) -> bool:
        with database.write() as session:
            now = datetime.now(UTC)
            taken = work.lease(session, f"search-{search.id}", owner=str(owner), lease_s=9, now=now)
            return taken is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lease, range(8))) == 1


def test_foreign_keys_are_enforced(database: Database) -> None:
    columns = (
        "id, search_id, name, role, position, proposal, status, status_reason, attempt, created_at"
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
