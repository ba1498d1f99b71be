"""Ends a worker process that makes no progress for too long."""

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

EXIT_HUNG = 70
"""Exit status of a process that the watchdog ended."""
_STDERR = 2


class Watchdog:
    """Watches over one step of work at a time.

    A hung step cannot be interrupted from inside Python, and Ray Tune would reuse the hung actor
    for the next trial. Ending the process makes it a lost worker, which is replaced.

    Args:
        silence_s: Longest duration of a step, in seconds.
        on_hang: Called when a step takes longer.
    """

    def __init__(
        self, silence_s: float, on_hang: Callable[[], None] = lambda: os._exit(EXIT_HUNG)
    ) -> None:
        self._silence_s = silence_s
        self._on_hang = on_hang
        self._since: float | None = None
        """Monotonic time at the start of the current step; None between steps."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch over the work inside the context."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(min(self._silence_s / 4, 5.0)):
            since = self._since
            if since is not None and time.monotonic() - since > self._silence_s:
                log.critical("no progress for %.0f s; ending this worker process", self._silence_s)
                faulthandler.dump_traceback(file=_STDERR, all_threads=True)
                self._on_hang()
                return
