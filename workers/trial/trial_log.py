"""The log of an attempt at a trial, stored beside its files, where the API finds it."""

import json
import logging
from collections import deque

from typing_extensions import override

from searchd import artifacts, logs
from searchd.messages.reports import Progress

log = logging.getLogger(__name__)

MAX_LINES = 2000
"""Number of lines that are kept; older ones are dropped."""


class TrialLog(logging.Handler):
    """Collects what this process logs about the attempt that it works on.

    `store` writes all of it, since an object store cannot append. It is called after every time
    slice; a process that dies loses what it has logged since then.
    """

    def __init__(self) -> None:
        super().__init__(level=logging.INFO)
        self._uri: str | None = None
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._num_lines = 0
        self._num_stored = 0
        self._is_refused = False
        self._epoch: tuple[str, int] | None = None

    def begin(self, uri: str) -> None:
        """Begin the log of another attempt.

        Args:
            uri: The file to write it to.
        """
        self._uri, self._is_refused, self._epoch = uri, False, None
        self._lines.clear()
        self._num_lines = self._num_stored = 0
        logging.getLogger().addHandler(self)  # has no effect if it is there already

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._num_lines += 1
        fields = {"line": self._num_lines, **logs.fields_of(record)}
        self._lines.append(json.dumps(fields, ensure_ascii=False, default=str))

    def note(self, progress: Progress) -> None:
        """Log the progress of the trial whenever it reaches another step or epoch."""
        at = (progress.stage, progress.epoch)
        if at == self._epoch:
            return
        self._epoch = at
        losses = ", ".join(f"{name} {value:.4g}" for name, value in progress.losses.items())
        epoch = f", epoch {progress.epoch} of {progress.num_epochs}" if progress.epoch else ""
        log.info("%s%s%s", progress.stage, epoch, f": {losses}" if losses else "")

    def store(self) -> None:
        """Write the log if it has new lines. A store that refuses it is no reason to fail: the
        training does not depend on it."""
        if self._uri is None or self._num_stored == self._num_lines:
            return
        number = self._num_lines
        try:
            artifacts.write(self._uri, "\n".join(self._lines).encode(), name="log", waits=False)
        except Exception as error:  # whatever the library of a store raises: it is only a log
            if not self._is_refused:
                self._is_refused = True
                log.warning("the log cannot be stored, will retry: %s", error)
            return
        self._num_stored = number

    @override
    def close(self) -> None:
        self.store()
        logging.getLogger().removeHandler(self)
        super().close()
