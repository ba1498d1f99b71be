"""How every process logs: as text for people, or as one JSON object for each line, with the ids of
the work, search and trial that the line is about.

A driver does one piece of work and a worker one trial at a time, so their ids belong to the
process: `identify`. A line about something else names it by `extra`, such as extra={"work": id}.
"""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import IO, Any, Literal

from typing_extensions import override

LogFormat = Literal["text", "json"]
ID_NAMES = ("work", "search", "trial")
"""The ids that a line can have. "search" is the id of a distillation, too."""
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_NOISY = ("aiobotocore", "botocore", "httpx", "httpcore", "alembic")
"""Libraries whose information is of no use in a service's log."""


class _Process:
    """What this process has been told."""

    log_format: LogFormat = "text"
    ids: Mapping[str, str] = {}


def configure(log_format: LogFormat, stream: IO[str] | None = None) -> None:
    """Log in this format from now on, instead of any earlier one.

    Args:
        log_format: text or json.
        stream: Where to; None: stderr.
    """
    _Process.log_format = log_format
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def identify(**ids: str) -> None:
    """Set the ids of all further lines of this process, by the names `ID_NAMES`."""
    _Process.ids = ids


def follow(log_format: LogFormat, ids: Mapping[str, str]) -> None:
    """Log as the driver does that gave this worker its task. In text, the ids are not shown."""
    if log_format != _Process.log_format or not logging.getLogger().handlers:
        configure(log_format)
    identify(**ids)


def current_format() -> LogFormat:
    """Return the format of this process."""
    return _Process.log_format


def current_ids() -> dict[str, str]:
    """Return the ids of this process."""
    return dict(_Process.ids)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return a record as JSON: `at` (UTC), `level`, `logger`, `message`, the ids that it has, and
    `traceback` if there is one."""
    given = {name: getattr(record, name) for name in ID_NAMES if hasattr(record, name)}
    fields = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage(),
        **_Process.ids,
        **given,
    }
    if record.exc_info:
        fields["traceback"] = logging.Formatter().formatException(record.exc_info)
    return fields


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(fields_of(record), ensure_ascii=False, default=str)
