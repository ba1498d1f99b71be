"""The log of a trial in responses of the API."""

from datetime import datetime

from api.schemas.base import Schema


class LogLine(Schema):
    """A line that the worker of a trial has logged."""

    line: int
    """Number of the line within its attempt, from 1; a page starts after a given number."""
    at: datetime
    """Time of the line, in UTC."""
    level: str
    """Severity of the line: INFO, WARNING or ERROR."""
    logger: str
    """Module that has logged the line."""
    message: str
    """Text of the line, which may have several lines itself."""
    traceback: str | None = None
    """Traceback of the error that the line is about; null without one."""


class TrialLogPage(Schema):
    """A page of the log of one attempt at a trial."""

    trial_id: str
    """Id of the trial that the lines are about."""
    attempt: int
    """Number of the attempt whose log this is; 0 before the first."""
    items: list[LogLine]
    """Lines of this page, oldest first."""
    next_page_token: str | None
    """Value of the parameter `page_token` that returns the next page; null on the last page. The
    number of the last line returns later what has been logged since."""
