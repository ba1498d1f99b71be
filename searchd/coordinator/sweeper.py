"""Garbage collection: removes stored files that nothing needs.

First the database records what is given up (`searchd.store.runs.retention`), then the files that it
does not list are removed. A sweep that is killed in between is completed by the next one. Nothing
is removed that a running trial may read or write.
"""

import contextlib
import logging
import os
import re
import shutil
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from searchd import artifacts
from searchd.domain.lifecycle import WorkKind
from searchd.settings import Settings
from searchd.store import Database
from searchd.store.base import now
from searchd.store.runs import retention
from searchd.store.runs.retention import RetainedArtifacts, RetainedRun

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
"""Between two looks at everything."""
_ATTEMPT = re.compile(r"(?P<trial>[^/]+)/attempt-\d+/(?P<file>.+)")
_REPORT = "report.json"
"""Kept of every attempt: small, and all that tells what it did."""
_SHOWN = 20
"""Trials that an event names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """What one sweep removed."""

    resource_id: str
    num_files: int
    size_bytes: int


class Sweeper:
    """Looks at one run or pool at a time, so that the coordinator's rounds stay short.

    Args:
        database: Says what is needed.
        settings: Where files lie, and for how long everything is kept.
        clock: The present time.
        watch: Seconds that never go back.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = now,
        watch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._root = settings.artifact_root
        self._tune_folder = settings.data_folder.absolute() / "tune"
        self._keep_s = settings.keep_s
        self._is_on = not settings.keep_all
        self._clock = clock
        self._time_s = watch
        self._due: deque[RetainedRun] = deque()
        self._next_look = float("-inf")
        self._clean: dict[str, int] = {}
        """Number of events of what has ended and has nothing to remove until another happens."""

    def step(self) -> SweepResult | None:
        """Sweep what is due next, if anything is.

        A store that refuses or does not answer is logged, and tried again at the next look.
        """
        if not self._due and self._time_s() >= self._next_look:
            self._next_look = self._time_s() + INTERVAL_S
            self._due.extend(self._look())
        if not self._due:
            return None
        resting = self._due.popleft()
        try:
            return self._sweep(resting)
        except OSError as error:
            log.warning("%s could not be swept, which is tried again: %s", resting.id, error)
            return None

    def sweep_all(self) -> list[SweepResult]:
        """Sweep everything once, now."""
        self._due.extend(self._look())
        swept = []
        while self._due:
            swept.append(self.step())
        return [each for each in swept if each is not None]

    def _look(self) -> list[RetainedRun]:
        if not self._is_on:
            return []
        with self._database.read() as session:
            found = [*retention.runs(session), *retention.ended_pools(session)]
        return [each for each in found if self._clean.get(each.id) != each.num_events]

    def _sweep(self, resting: RetainedRun) -> SweepResult | None:
        of_pool = resting.kind is WorkKind.POOL
        folder = artifacts.join(self._root, "pools" if of_pool else "searches", resting.id)
        stored = _list(folder)
        doomed, whose = self._of_pool(resting, stored) if of_pool else self._of_run(resting, stored)
        _remove(folder, doomed)
        if not whose:
            if self._has_rested(resting):
                self._clean[resting.id] = resting.num_events
            return None
        size_bytes = sum(stored[file] for file in doomed)
        log.info("%s: removed %d files with %d bytes", resting.id, len(doomed), size_bytes)
        return SweepResult(resource_id=resting.id, num_files=len(doomed), size_bytes=size_bytes)

    def _of_run(self, run: RetainedRun, stored: Mapping[str, int]) -> tuple[list[str], list[str]]:
        """Give up what is not needed. Files to remove, and the names of whose they are."""
        with self._database.write() as session:
            held = retention.collect(session, run.id, keep_s=self._keep_s, now=self._clock())
            doomed = left_by_run(stored, held, run.id)
            whose = list(dict.fromkeys([*(path.split("/")[0] for path in doomed), *held.collected]))
            if whose:
                message = _message(stored, doomed, whose)
                retention.record_collection(session, run.id, [*doomed, *whose], message)
        if held.has_rested:  # what a driver left that was killed
            shutil.rmtree(self._tune_folder / run.id, ignore_errors=True)
        return doomed, whose

    def _of_pool(self, pool: RetainedRun, stored: Mapping[str, int]) -> tuple[list[str], list[str]]:
        doomed = left_by_pool(stored) if self._has_rested(pool) else []
        whose = list(dict.fromkeys(path.split("/")[0] for path in doomed))
        if whose:
            with self._database.write() as session:
                message = _message(stored, doomed, whose)
                retention.record_collection(session, pool.id, doomed, message)
        return doomed, whose

    def _has_rested(self, resting: RetainedRun) -> bool:
        """Whether it ended long enough ago that nothing of it is in use."""
        before = self._clock() - timedelta(seconds=self._keep_s)
        return resting.ended_at is not None and resting.ended_at <= before


def left_by_run(stored: Iterable[str], held: RetainedArtifacts, run_id: str) -> list[str]:
    """Files of a run's attempts that no row of the database holds.

    Args:
        stored: Relative to the run's folder. Listed before `held` was read: a trial's row is
            written before its first file.
        held: What the run's rows hold.
        run_id: The run.
    """
    # The tail alone: rows may name the same folder in another way, as before a store was moved.
    held_files = {uri.rpartition(f"/{run_id}/")[2] for uri in held.files}
    return [path for path in stored if _is_left(path, held, held_files)]


def left_by_pool(stored: Iterable[str]) -> list[str]:
    """Files of a pool that has ended with which a training would have gone on, and what a write
    left behind that was killed."""
    return [path for path in stored if path.endswith(("/resume.pt", ".partial"))]


def _is_left(path: str, held: RetainedArtifacts, held_files: Collection[str]) -> bool:
    attempt = _ATTEMPT.fullmatch(path)
    if attempt is None or attempt["file"] == _REPORT or path in held_files:
        return False
    if attempt["trial"] in held.known:
        return attempt["trial"] in held.settled
    return held.has_rested


def _message(stored: Mapping[str, int], doomed: Sequence[str], whose: Sequence[str]) -> str:
    more = f" and {len(whose) - _SHOWN} more" if len(whose) > _SHOWN else ""
    return (
        f"{len(doomed)} files with {sum(stored[path] for path in doomed)} bytes of "
        f"{', '.join(whose[:_SHOWN])}{more} are removed, since nothing needs them any more"
    )


def _list(folder: str) -> Mapping[str, int]:
    """Bytes of every file below a folder, by its path in it. Links are not followed."""
    fs, root = url_to_fs(folder)
    if isinstance(fs, LocalFileSystem):
        return _list_local(Path(root))
    fs.invalidate_cache(root)
    found: dict[str, Any] = fs.find(root, detail=True)
    return {path.removeprefix(f"{root}/"): info["size"] for path, info in found.items()}


def _list_local(root: Path) -> Mapping[str, int]:
    sizes = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                sizes[path.relative_to(root).as_posix()] = path.lstat().st_size
    return sizes


def _remove(folder: str, files: Collection[str]) -> None:
    """
    Raises:
        OSError: The store refuses.
    """
    for file in files:
        artifacts.delete(artifacts.join(folder, file))
    fs, root = url_to_fs(folder)
    if isinstance(fs, LocalFileSystem):
        for parent in {Path(root, file).parent for file in files}:
            with contextlib.suppress(OSError):  # it holds more, and stays
                parent.rmdir()
