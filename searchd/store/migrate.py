"""Bringing a database to the tables that this version of searchd knows."""

from collections.abc import Callable

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from searchd.store.database import Database


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade the tables. Does nothing when they are up to date.

    Args:
        url: SQLAlchemy URL of the database.
        revision: Where to stop; "head" is the newest.
    """
    _migrate(command.upgrade, url, revision)


def downgrade(url: str, revision: str) -> None:
    """Undo migrations down to `revision`; "base" removes every table with its rows."""
    _migrate(command.downgrade, url, revision)


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


def _migrate(direction: Callable[[Config, str], None], url: str, revision: str) -> None:
    database = Database(url)
    try:
        with database.connect() as connection:
            direction(configuration(connection), revision)
    finally:
        database.close()
