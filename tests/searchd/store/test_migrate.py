"""Migrations make exactly the tables of the models."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

from searchd.store import Database, downgrade, upgrade
from searchd.store.base import Base

TABLES = {
    "artifacts",
    "datasets",
    "epoch_metrics",
    "evaluations",
    "events",
    "pools",
    "searches",
    "subnet_evaluations",
    "tokens",
    "trials",
    "work",
}


def test_migrations_make_the_tables_of_the_models(database: Database) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_upgrade_makes_every_table_and_downgrade_removes_them(url: str) -> None:
    upgrade(url)
    upgrade(url)  # up to date: does nothing
    opened = Database(url)
    assert set(inspect(opened.engine).get_table_names()) == TABLES | {"alembic_version"}
    downgrade(url, "base")
    assert set(inspect(opened.engine).get_table_names()) == {"alembic_version"}
    opened.close()
