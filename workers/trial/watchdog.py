"""Ends this process when nothing moves in it for too long."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EXIT_HUNG = 70
_STDERR = 2


class Watchdog:
    """Watches over one stretch of work at a time.

    A hung step cannot be interrupted from inside Python, and Ray Tune would hand the hung actor on
    to the next trial. Ending the process makes it a lost worker, which is replaced.

    Args:
        silence_s: How long a stretch may last.
        on_hang: Called when one lasts longer.
    """

    def __init__(
        self, silence_s: float, on_hang: Callable[[], None] = lambda: os._exit(EXIT_HUNG)
    ) -> None:
        self._silence_s = silence_s
        self._on_hang = on_hang
        self._since: float | None = None
        """time.monotonic() at the start of the stretch under way."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """A stretch of work."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(min(self._silence_s / 4, 5.0)):
            since = self._since
            if since is not None and time.monotonic() - since > self._silence_s:
                log.critical("nothing moved for %.0f s; this worker ends itself", self._silence_s)
                faulthandler.dump_traceback(file=_STDERR, all_threads=True)
                self._on_hang()
                return
