"""A real API on a real SQLite file, served over a socket on loopback, for tests that need one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from api.app import create_app
from api.auth import WITHOUT_TOKENS, Rules
from api.submission import NO_CHECKS, SubmissionChecks
from searchd.store import Database, upgrade
from searchd.store.base import Base


@dataclass(frozen=True, slots=True)
class Service:
    """A running API and the database behind it."""

    url: str
    database: Database
    folder: Path
    """The folder with the database file and the folder "artifacts"."""

    @property
    def artifacts(self) -> Path:
        """Root of the artifact store."""
        return self.folder / "artifacts"

    def forget_everything(self) -> None:
        """Delete every row."""
        with self.database.connect() as connection:
            for table in reversed(Base.metadata.sorted_tables):
                connection.execute(table.delete())


@contextmanager
def serve(
    folder: Path,
    rules: Rules = WITHOUT_TOKENS,
    checks: SubmissionChecks = NO_CHECKS,
    *,
    port: int = 0,
) -> Iterator[Service]:
    """The API on the database in `folder`, which is empty at first, until the block is left. 0: any
    port."""
    url = f"sqlite:///{folder / 'searchd.sqlite'}"
    upgrade(url)
    database = Database(url)
    config = uvicorn.Config(
        create_app(database, rules, str(folder / "artifacts"), checks=checks),
        port=port,
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=2,  # an open event stream must not delay the end
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    bound = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Service(f"http://127.0.0.1:{bound}", database, folder)
    finally:
        server.should_exit = True
        thread.join()
        database.close()
