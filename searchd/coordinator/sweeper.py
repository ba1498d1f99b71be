"""Garbage collection: removes stored files that nothing needs.

First the database records which weights are collected (`searchd.store.runs.retention`), then the
files that it does not list are removed. If the process is killed in between, the next sweep removes
the rest. Files that a running trial may read or write are never removed.
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

from fsspec.implementations.local import LocalFileSystem

from searchd import artifacts
from searchd.domain.lifecycle import WorkKind
from searchd.messages.files import EPOCH_FILE, LOG_FILE, REPORT_FILE, RESUME_FILE
from searchd.settings import Settings
from searchd.store import Database
from searchd.store.base import now
from searchd.store.runs import retention
from searchd.store.runs.retention import RetainedArtifacts, RetainedRun

log = logging.getLogger(__name__)

INTERVAL_S = 60.0
"""Seconds between two listings of all runs and trainings."""
_ATTEMPT = re.compile(r"(?P<trial>[^/]+)/attempt-\d+/(?P<file>.+)")
_FOLDERS = {WorkKind.POOL: "pools", WorkKind.TEACHER_TRAINING: "teachers"}
"""The folder below the root of artifacts, by the kind of training."""
_SHOWN = 20
"""Maximum number of trials that an event names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """The files that one sweep removed."""

    resource_id: str
    num_files: int
    size_bytes: int


class Sweeper:
    """Sweeps one run or training at a time, so that the coordinator's rounds stay short.

    Args:
        database: Lists what is needed.
        settings: The location of files, and the seconds for which everything is kept.
        clock: The present time.
        monotonic: A monotonic clock, in seconds.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._root = settings.artifact_root
        self._tune_folder = settings.data_folder.absolute() / "tune"
        self._keep_s = settings.keep_s
        self._is_on = not settings.keep_all
        self._clock = clock
        self._monotonic = monotonic
        self._due: deque[RetainedRun] = deque()
        self._next_listing_s = float("-inf")
        self._clean: dict[str, int] = {}
        """Number of events of each run and training that has ended and has nothing left to remove.
        It is skipped until it has another event."""

    def step(self) -> SweepResult | None:
        """Sweep the next run or training that is due, if there is one.

        If the store fails, the error is logged and the next listing retries.

        Returns:
            What was removed; None if nothing was.
        """
        if not self._due and self._monotonic() >= self._next_listing_s:
            self._next_listing_s = self._monotonic() + INTERVAL_S
            self._due.extend(self._list_all())
        if not self._due:
            return None
        target = self._due.popleft()
        try:
            return self._sweep(target)
        except OSError as error:
            log.warning("%s could not be swept, will retry: %s", target.id, error)
            return None

    def sweep_all(self) -> list[SweepResult]:
        """Sweep every run and training once, now."""
        self._due.extend(self._list_all())
        swept = []
        while self._due:
            swept.append(self.step())
        return [each for each in swept if each is not None]

    def _list_all(self) -> list[RetainedRun]:
        if not self._is_on:
            return []
        with self._database.read() as session:
            found = [*retention.runs(session), *retention.ended_trainings(session)]
        return [each for each in found if self._clean.get(each.id) != each.num_events]

    def _sweep(self, target: RetainedRun) -> SweepResult | None:
        folder = artifacts.join(self._root, _FOLDERS.get(target.kind, "searches"), target.id)
        stored = _list(folder)
        is_training = target.kind in _FOLDERS
        sweep = self._of_training if is_training else self._of_run
        unneeded, names = sweep(target, stored)
        _remove(folder, unneeded)
        if not names:
            if self._is_past_retention(target):
                self._clean[target.id] = target.num_events
            return None
        size_bytes = sum(stored[file] for file in unneeded)
        log.info("%s: removed %d files with %d bytes", target.id, len(unneeded), size_bytes)
        return SweepResult(resource_id=target.id, num_files=len(unneeded), size_bytes=size_bytes)

    def _of_run(self, run: RetainedRun, stored: Mapping[str, int]) -> tuple[list[str], list[str]]:
        """Record the weights that are not needed as collected.

        Returns:
            Paths of the files to remove, and the names of the trials that they belong to.
        """
        with self._database.write() as session:
            held = retention.collect(session, run.id, keep_s=self._keep_s, now=self._clock())
            unneeded = unneeded_run_files(stored, held, run.id)
            names = list(
                dict.fromkeys([*(path.split("/")[0] for path in unneeded), *held.collected])
            )
            if names:
                message = _message(stored, unneeded, names)
                retention.record_collection(session, run.id, [*unneeded, *names], message)
        if held.is_past_retention:  # files of a driver that was killed
            shutil.rmtree(self._tune_folder / run.id, ignore_errors=True)
        return unneeded, names

    def _of_training(
        self, training: RetainedRun, stored: Mapping[str, int]
    ) -> tuple[list[str], list[str]]:
        unneeded = unneeded_training_files(stored) if self._is_past_retention(training) else []
        names = list(dict.fromkeys(path.split("/")[0] for path in unneeded))
        if names:
            with self._database.write() as session:
                message = _message(stored, unneeded, names)
                retention.record_collection(session, training.id, unneeded, message)
        return unneeded, names

    def _is_past_retention(self, target: RetainedRun) -> bool:
        """Return whether the run or training ended so long ago that none of its files is in use."""
        before = self._clock() - timedelta(seconds=self._keep_s)
        return target.ended_at is not None and target.ended_at <= before


def unneeded_run_files(stored: Iterable[str], held: RetainedArtifacts, run_id: str) -> list[str]:
    """Return the files of a run's attempts that no row of the database lists.

    Args:
        stored: Paths relative to the run's folder. Listed before `held` was read, because a trial's
            row is written before its first file.
        held: The files that the run's rows list.
        run_id: The run.
    """
    # Only the tail: rows may name the same folder differently, as before a store was moved.
    held_files = {uri.rpartition(f"/{run_id}/")[2] for uri in held.files}
    return [path for path in stored if _is_unneeded(path, held, held_files)]


def unneeded_training_files(stored: Iterable[str]) -> list[str]:
    """Return the files of an ended training of a pool or a teacher that only a resumed training
    would read, and the partial files of writes that were killed."""
    checkpoints = (f"/{RESUME_FILE}", f"/{EPOCH_FILE}")
    return [path for path in stored if path.endswith((*checkpoints, ".partial"))]


def _is_unneeded(path: str, held: RetainedArtifacts, held_files: Collection[str]) -> bool:
    attempt = _ATTEMPT.fullmatch(path)
    if attempt is None or attempt["file"] in (REPORT_FILE, LOG_FILE) or path in held_files:
        return False
    if attempt["trial"] in held.known:
        return attempt["trial"] in held.settled
    return held.is_past_retention


def _message(stored: Mapping[str, int], unneeded: Sequence[str], names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (
        f"{len(unneeded)} files with {sum(stored[path] for path in unneeded)} bytes of "
        f"{', '.join(names[:_SHOWN])}{more} are removed because nothing needs them"
    )


def _list(folder: str) -> Mapping[str, int]:
    """Return the size in bytes of every file below a folder, by its relative path. Links are not
    followed."""
    fs, root = artifacts.located(folder)
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
            with contextlib.suppress(FileNotFoundError):  # removed in the meantime
                sizes[path.relative_to(root).as_posix()] = path.lstat().st_size
    return sizes


def _remove(folder: str, files: Collection[str]) -> None:
    """Remove files of a folder, and the folders that are empty then.

    Raises:
        OSError: The store refuses.
    """
    for file in files:
        artifacts.delete(artifacts.join(folder, file))
    fs, root = artifacts.located(folder)
    if isinstance(fs, LocalFileSystem):
        for parent in {Path(root, file).parent for file in files}:
            with contextlib.suppress(OSError):  # it is not empty, and is kept
                parent.rmdir()
