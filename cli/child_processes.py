"""Child processes: started, restarted, found again by an environment variable, and ended. It does
not import Ray."""

import contextlib
import logging
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

PORTS = range(10_000, 30_000)
"""Ports for child processes. Systems give higher ones to outgoing connections: one of those could
hold the port of a child that is about to start, and every restart of it would fail."""
_STOP_GRACE_S = 10.0
_MAX_BACK_OFF_S = 30.0
_STEADY_S = 60.0
"""Seconds after which a process counts as steady: it is restarted without back-off."""


@dataclass(slots=True)
class Child:
    """A child process that is restarted whenever it ends."""

    name: str
    command: list[str]
    environment: Mapping[str, str]
    folder: Path
    """The working directory of the process."""
    log_file: Path
    """The file that the output of the process is appended to."""
    process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    crashes: int = field(default=0, init=False)
    """The number of consecutive crashes, each after less than `_STEADY_S`."""
    not_before: float = field(default=0.0, init=False)
    """The time of the monotonic clock before which the process is not restarted."""
    _started_at: float = field(default=0.0, init=False)

    def start(self) -> None:
        """Start the process in its own session: Ctrl-C in a terminal does not reach it, and if it
        kills its process group, as Ray's reaper does, it does not kill this process."""
        with self.log_file.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                env=dict(self.environment),
                start_new_session=True,
            )
        self._started_at = time.monotonic()
        log.info("started %s, process %d", self.name, self.process.pid)

    @property
    def exit_code(self) -> int | None:
        """The exit code, or None while the process runs."""
        return None if self.process is None else self.process.poll()

    def keep_running(self) -> bool:
        """Restart the process if it has ended, with back-off.

        Returns:
            Whether the process was started.
        """
        if self.process is not None and self.exit_code is not None:
            self._note_crash(self.exit_code)
        if self.process is not None or time.monotonic() < self.not_before:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """End the process by SIGTERM, then by SIGKILL, and wait for its end."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        log.info("stopped %s", self.name)

    def tail(self) -> str:
        """Return the last lines of the log, for error messages."""
        lines = self.log_file.read_text(errors="replace").splitlines()[-10:]
        return "\n".join([f"the last lines of {self.log_file} are:", *lines])

    def _note_crash(self, exit_code: int) -> None:
        steady = time.monotonic() - self._started_at >= _STEADY_S
        self.crashes = 0 if steady else self.crashes + 1
        delay_s = 0.0 if steady else min(2.0 ** (self.crashes - 1), _MAX_BACK_OFF_S)
        self.process = None
        self.not_before = time.monotonic() + delay_s
        log.error(
            "%s ended with exit code %d; restart in %.0f s, log: %s",
            *(self.name, exit_code, delay_s, self.log_file),
        )


def marked(variable: str, value: str) -> list[psutil.Process]:
    """Return the running processes with this environment variable, and all their descendants.

    Some processes overwrite their environment with a title; they are found as descendants.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
            if process.environ().get(variable) == value:
                family = (process, *process.children(recursive=True))
                found.update({member.pid: member for member in family})
    found.pop(os.getpid(), None)
    return [process for process in found.values() if _lives(process)]


def end(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """End processes by SIGTERM, then by SIGKILL.

    Returns:
        The processes that are still running.
    """
    remaining = list(processes)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):  # also if the pid was reused
                process.send_signal(number)
        _, remaining = psutil.wait_procs(remaining, timeout=_STOP_GRACE_S)
    return [process for process in remaining if _lives(process)]


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that no process listens on, out of `PORTS`."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(PORTS, len(PORTS)):
            if len(found) == count:
                break
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):  # it is in use
                one.bind(("", port))
                found.append(port)
    return found


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
