"""The guard of disk space: while there is too little, no work is started, and what runs is stopped.

Stopped work is queued again and waits like any other, so that it goes on by itself when there is
room; what a user pauses meanwhile stays paused. Stores that are no local folder are not looked at.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import or_, select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import WorkKind, WorkStatus
from searchd.settings import Settings
from searchd.store import Database, Desired
from searchd.store.models import EventRow, WorkRow
from searchd.store.work import queue, requests

GIGABYTE = 1e9
_STOP_SHARE = 0.5
"""Of the space that work needs to start. Less than 1: what was started may fill some."""
_KINDS = (WorkKind.SEARCH, WorkKind.DISTILLATION, WorkKind.POOL)
_STOPS = "stopped for want of disk space; goes on by itself when there is room: "
_QUEUES = "waits for disk space"
_SINCE = (_STOPS, _QUEUES, "a user asked to resume", "a user extended it")
"""How events begin of which the last one tells whether it was the guard that stopped something."""


class DiskGuard:
    """Looks at the disks on which searchd writes.

    Args:
        folders: On those disks; they may be missing.
        min_free_gb: Gigabytes that must be free for work to start.
        free_bytes: How many bytes are free where a folder lies.
    """

    def __init__(
        self,
        folders: Iterable[Path],
        min_free_gb: float,
        *,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folders = tuple(dict.fromkeys(folders))
        self._min_free_gb = min_free_gb
        self._free_bytes = free_bytes
        self._said: str | None = None

    def shortage(self) -> str | None:
        """Why no work may be started, in words; None if it may."""
        found = self._less_than(self._min_free_gb)
        # With the figure that it began with: each other one would be an event of all that waits.
        self._said = found and (self._said or found)
        return self._said

    def step(self, database: Database) -> list[str]:
        """Stop what runs if the space runs out, and queue again what was stopped.

        Returns:
            Ids of the work that was asked to stop.
        """
        shortage = self._less_than(self._min_free_gb * _STOP_SHARE)
        with database.read() as session:
            running = list(_running(session)) if shortage else []
            stopping = list(_stopping(session))
        for each in stopping:
            with database.write() as session:
                if _is_stopping(session, each):
                    requests.ask_to_resume(session, each.resource_id, _QUEUES)
        stopped = []
        for each in running:
            with database.write() as session:
                if _stop(session, each, f"{_STOPS}{shortage}"):
                    stopped.append(each.id)
        return stopped

    def _less_than(self, gigabytes: float) -> str | None:
        for folder in self._folders:
            free_gb = self._free_bytes(_existing(folder)) / GIGABYTE
            if free_gb < gigabytes:
                return (
                    f"only {free_gb:.1f} GB free on {folder}, needs {self._min_free_gb:g} GB; free "
                    "some or set SEARCHD_MIN_FREE_GB"
                )
        return None


def guarded_folders(settings: Settings) -> Iterator[Path]:
    """Where artifacts and the database lie, as far as that is on a disk of this machine."""
    fs, path = url_to_fs(settings.artifact_root)
    if isinstance(fs, LocalFileSystem):
        yield Path(path)
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database:
        yield Path(url.database).parent


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _running(session: Session) -> Iterator[WorkRow]:
    for row in queue.leased(session):
        if row.kind not in _KINDS or row.desired is not Desired.RUN:
            continue
        # What is pausing has been asked to go on when it has stopped: it waits for room then.
        if queue.resource(session, row).status.value != "pausing":
            yield row


def _stopping(session: Session) -> Iterator[WorkRow]:
    paused = session.scalars(select(WorkRow).where(WorkRow.desired == Desired.PAUSE)).all()
    for row in paused:
        if _is_stopping(session, row):
            yield row


def _is_stopping(session: Session, row: WorkRow) -> bool:
    """Whether the guard asked, nobody has asked after it, and the driver has seen it."""
    row = queue.get(session, row.id)
    status = queue.resource(session, row).status.value
    has_seen = row.status is WorkStatus.PAUSED or status == "pausing"
    return row.desired is Desired.PAUSE and has_seen and _asked_last(session, row)


def _asked_last(session: Session, row: WorkRow) -> bool:
    """A crash may have fallen between asking to stop and queueing again: events remember."""
    last = session.scalar(
        select(EventRow.message)
        .where(
            EventRow.resource_id == row.resource_id,
            or_(*(EventRow.message.startswith(each) for each in _SINCE)),
        )
        .order_by(EventRow.number.desc())
        .limit(1)
    )
    return last is not None and last.startswith(_STOPS)


def _stop(session: Session, row: WorkRow, reason: str) -> bool:
    """Whether it was still running."""
    try:
        return requests.ask_to_pause(session, row.resource_id, reason).desired is Desired.PAUSE
    except ConflictError:
        return False
