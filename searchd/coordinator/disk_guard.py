"""The disk guard: while disk space is low, no work is started, and running work is paused.

Paused work is queued again and waits for admission like any other, so it resumes automatically when
enough space is free. What a user pauses meanwhile stays paused. Only local folders are checked.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from searchd.domain.lifecycle import STOPPABLE
from searchd.settings import Settings
from searchd.store import Database, Desired, DesiredBy
from searchd.store.models import WorkRow
from searchd.store.work import queue, requests

GIGABYTE = 1e9
_PAUSE_SHARE = 0.5
"""Running work is paused below this share of the space that work needs to start. Less than 1,
because work that was started may use some of the space."""


class DiskGuard:
    """Checks the free space of the disks that searchd writes to.

    Args:
        folders: Folders on those disks; they may be missing.
        min_free_gb: Gigabytes that must be free for work to start.
        free_bytes: Returns the number of free bytes on the disk of an existing folder.
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
        self._reason: str | None = None

    def low_space_reason(self) -> str | None:
        """Return why no work may be started, in words; None if there is enough space.

        The figure is that of the first call since space became low: with every other figure, each
        waiting resource would get another event.
        """
        reason = self._low_space(self._min_free_gb)
        self._reason = reason and (self._reason or reason)
        return self._reason

    def step(self, database: Database) -> list[str]:
        """Pause running work if space is low, and queue work again that was paused before.

        Returns:
            Ids of the work that was asked to pause.
        """
        low_space = self._low_space(self._min_free_gb * _PAUSE_SHARE)
        with database.read() as session:
            running = [
                row.id
                for row in queue.leased(session)
                if row.kind in STOPPABLE and row.desired is Desired.RUN
            ]
            paused = _paused_by_guard(session)
        for work_id in paused:
            with database.write() as session:
                requests.resume_after_low_space(session, work_id)
        if low_space is None:
            return []
        return [work_id for work_id in running if _pause(database, work_id, low_space)]

    def _low_space(self, gigabytes: float) -> str | None:
        for folder in self._folders:
            free_gb = self._free_bytes(_existing(folder)) / GIGABYTE
            if free_gb < gigabytes:
                return (
                    f"only {free_gb:.1f} GB free on {folder}, needs {self._min_free_gb:g} GB; free "
                    "some or set SEARCHD_MIN_FREE_GB"
                )
        return None


def guarded_folders(settings: Settings) -> Iterator[Path]:
    """The folders of artifacts and database, as far as they are on a disk of this machine."""
    fs, path = url_to_fs(settings.artifact_root)
    if isinstance(fs, LocalFileSystem):
        yield Path(path)
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database:
        yield Path(url.database).parent


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _paused_by_guard(session: Session) -> list[str]:
    """Ids of the work that the guard paused. Read from the database in every round: the coordinator
    may have been restarted between pausing and resuming."""
    return list(
        session.scalars(
            select(WorkRow.id)
            .where(WorkRow.desired == Desired.PAUSE, WorkRow.desired_by == DesiredBy.DISK_GUARD)
            .order_by(WorkRow.created_at, WorkRow.id)
        )
    )


def _pause(database: Database, work_id: str, low_space: str) -> bool:
    with database.write() as session:
        return requests.pause_for_disk_space(session, work_id, low_space)
