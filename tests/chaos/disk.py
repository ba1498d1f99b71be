"""A small disk in memory that a test fills or makes read-only."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A mounted disk.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, *, leave_bytes: int = 0) -> None:
        """Use up all that is free, or all but `leave_bytes`."""
        with self._ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while self._free_bytes() > leave_bytes:
                file.write(bytes(4096))
        assert self._free_bytes() <= leave_bytes

    def free(self) -> None:
        """Undo `fill`."""
        self._ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Make the disk read-only, also for root, inside the `with` block."""
        self._remount("ro")
        try:
            yield
        finally:
            self._remount("rw")

    def _free_bytes(self) -> int:
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def _remount(self, mode: str) -> None:
        # Remounting fails while a file is open for writing.
        while not _mount("-o", f"remount,{mode}", str(self.folder)):
            time.sleep(0.01)


@contextmanager
def mounted_disk(folder: Path, *, size: str) -> Iterator[Disk]:
    """Mount a new disk on `folder`. Skips the test where this user may not mount one."""
    if os.geteuid() != 0 or not _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)):
        pytest.skip("this user may not mount a disk")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
