"""Migrate a database to the tables of this version of searchd."""

from collections.abc import Callable
from contextlib import closing

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection, text

from searchd.domain.errors import SearchdError
from searchd.store.database import Database

_LOCK = 0x5EA2C4D
"""Number of the PostgreSQL advisory lock that a migrating process holds; arbitrary but fixed."""


def upgrade(database: str | Database, revision: str = "head") -> None:
    """Create or upgrade the tables. Does nothing if they are up to date. Calls of several processes
    at the same time wait for each other.

    Args:
        database: The SQLAlchemy URL, or an open database (required for one in memory).
        revision: The revision to stop at; "head" is the newest.
    """
    _migrate(command.upgrade, database, revision)


def downgrade(database: str | Database, revision: str) -> None:
    """Undo migrations down to `revision`; "base" removes every table with its rows."""
    _migrate(command.downgrade, database, revision)


def is_current(database: Database) -> bool:
    """Return whether the database is at the newest migration of this version."""
    with database.engine.connect() as connection:
        newest = ScriptDirectory.from_config(configuration(connection)).get_current_head()
        return MigrationContext.configure(connection).get_current_revision() == newest


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration. It has a connection and not the URL, which is a secret."""
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
        try:
            direction(configuration(connection), revision)
        except CommandError as error:
            if not isinstance(error.__cause__, ResolutionError):
                raise
            raise SearchdError(
                f"the database was written by a newer version of searchd (migration "
                f"{error.__cause__.argument}); use that version, or another database"
            ) from error
