"""Progress of commands that do one thing many times, shown on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress(noun: str, total: int) -> Iterator[Callable[[], None]]:
    """Show on stderr how many of some things are done, and yield what is called after each.

    Args:
        noun: Name of the things.
        total: Number of things; 0: unknown.
    """
    columns = (TextColumn(noun), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(noun, total=total or None)
        yield lambda: bar.advance(task)
