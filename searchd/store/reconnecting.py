"""A database that may be away for a while, as when its server is restarted."""

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
    """Waits for a server that does not answer, where `Database` fails: a driver would lose what its
    workers train.

    Args:
        url: As `Database`.
        patience_s: How long a step waits at most. Longer than the lease would be in vain.
    """

    def __init__(self, url: str, *, patience_s: float) -> None:
        super().__init__(url)
        self._patience_s = patience_s

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
            OperationalError: It did not answer in time.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with self.engine.connect():
                    return
            except OperationalError as error:
                if time.monotonic() >= deadline:
                    raise
                log.warning("the database does not answer, and is asked again: %s", error)
            time.sleep(_RETRY_S)
