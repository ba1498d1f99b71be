"""Write a migration from the last one to the models: `python -m searchd.store.migrations MESSAGE`.

Read what it wrote before committing it: a renamed column looks like a removed and an added one.
"""

import sys
import tempfile

from alembic import command
from alembic.script import ScriptDirectory

from searchd.store.database import Database
from searchd.store.migrate import configuration, upgrade


def write_migration(message: str) -> None:
    """Compare the models with a fresh database at the newest migration, and write the difference
    into versions/."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/scratch.sqlite"
        upgrade(url)
        database = Database(url)
        with database.connect() as connection:
            config = configuration(connection)
            number = 1 + sum(1 for _ in ScriptDirectory.from_config(config).walk_revisions())
            command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
        database.close()


if __name__ == "__main__":
    write_migration(" ".join(sys.argv[1:]))
