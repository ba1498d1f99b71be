"""A database client that waits while the server is unavailable, for example restarting."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from typing_extensions import override

from searchd.store import Database

log = logging.getLogger(__name__)

_RETRY_S = 1.0


class RetryingDatabase(Database):
    """Waits for a server that does not answer, where `Database` fails: a driver that failed would
    lose what its workers train.

    Args:
        url: SQLAlchemy URL; see `Database`.
        timeout_s: Maximum number of seconds that a transaction waits. Waiting for longer than a
            lease is useless, because the lease is lost then.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        super().__init__(url)
        self._timeout_s = timeout_s

    @override
    @contextmanager
    def read(self) -> Iterator[Session]:
        self._await_server()
        with super().read() as session:
            yield session

    @override
    @contextmanager
    def write(self) -> Iterator[Session]:
        self._await_server()
        with super().write() as session:
            yield session

    def _await_server(self) -> None:
        """
        Raises:
            OperationalError: The server did not answer in time.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                with self.engine.connect():
                    return
            except OperationalError as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("the database does not answer, retrying: %s", error)
            time.sleep(_RETRY_S)
