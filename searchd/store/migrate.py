"""Bringing a database to the tables that this version of searchd knows."""

from collections.abc import Callable
from contextlib import closing

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from searchd.store.database import Database

_LOCK = 0x5EA2C4D
"""Number of PostgreSQL's advisory lock that whoever migrates holds; any that nobody else uses."""


def upgrade(database: str | Database, revision: str = "head") -> None:
    """Create or upgrade the tables. Does nothing when they are up to date. Processes that do it at
    the same time take turns.

    Args:
        database: Its SQLAlchemy URL, or an open one (one in memory has no other way).
        revision: Where to stop; "head" is the newest.
    """
    _migrate(command.upgrade, database, revision)


def downgrade(database: str | Database, revision: str) -> None:
    """Undo migrations down to `revision`; "base" removes every table with its rows."""
    _migrate(command.downgrade, database, revision)


def is_current(database: Database) -> bool:
    """Whether the database has exactly the tables that this version knows."""
    with database.engine.connect() as connection:
        newest = ScriptDirectory.from_config(configuration(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() == newest


def configuration(connection: Connection) -> Config:
    """Alembic's configuration. It gets a connection, so that the URL is in no option of it."""
    config = Config()
    config.set_main_option("script_location", "searchd.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _migrate(
    direction: Callable[[Config, str], None], database: str | Database, revision: str
) -> None:
    if isinstance(database, str):
        with closing(Database(database)) as opened:
            _migrate(direction, opened, revision)
        return
    with database.connect() as connection:  # on SQLite, the only writer from here on
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        direction(configuration(connection), revision)
