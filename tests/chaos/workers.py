"""Trials without torch that take one and a half seconds and write a checkpoint after every slice.

Every attempt adds a line to a file in the folder NOTES. That folder is not in the artifact store,
since faults may make the store refuse writes.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from searchd import artifacts
from searchd.domain.errors import ArtifactError
from searchd.domain.trial import Outcome
from searchd.messages.codecs import REPORT
from searchd.messages.reports import Progress, Report
from searchd.messages.tasks import TrialTask
from tests import fake_workers
from tests.fake_workers import TrialContext

NOTES = "CHAOS_NOTES"
"""Environment variable with the folder of the notes."""
ENVIRONMENT = {**fake_workers.ENVIRONMENT, "SEARCHD_TRIAL_MODULE": "tests.chaos.workers"}
NUM_SLICES = 10
SLICE_S = float(os.environ.get("CHAOS_SLICE_S", "0.15"))
FIRST = ("base", "0")
"""Names of the trials that are never held."""
SHORT_WRITE_TIMEOUT_S = 2.0
"""Seconds that a worker waits for a store that refuses writes after `shorten_write_timeout`,
instead of `searchd.artifacts.WRITE_TIMEOUT_S`."""
LATE_S = 1.0
"""Seconds after which a worker that was cut off writes its report."""
LATE_PARAMS = 666
"""Number of parameters in a late report, which distinguishes it from other reports."""
_REPORT_LATE = """
import sys, time
from searchd import artifacts
time.sleep(float(sys.argv[1]))
artifacts.write(sys.argv[2], sys.argv[3].encode(), name="report")
"""

__all__ = ["TrialContext", "trial_steps"]


@dataclass(frozen=True)
class Attempt:
    """What a worker noted when it began an attempt.

    Attributes:
        name: Name of the trial.
        number: Number of the attempt.
        pid: Process id of the worker.
        first_slice: First slice that the attempt trains; above 0 if it resumes from a checkpoint.
    """

    name: str
    number: int
    pid: int
    first_slice: int


def attempts(notes: Path, search: str) -> list[Attempt]:
    """Return every attempt at a trial of a search that a worker began, in order."""
    file = notes / search
    if not file.exists():
        return []
    return [Attempt(**json.loads(line)) for line in file.read_text().splitlines()]


@dataclass(frozen=True)
class Slice:
    """What a worker noted when it had written the checkpoint of a slice."""

    name: str
    attempt: int
    number: int


def slices(notes: Path, search: str) -> list[Slice]:
    """Return every slice of a search's trials whose checkpoint was written, in order."""
    lines = (notes / f"slices-{search}").read_text().splitlines()
    return [Slice(**json.loads(line)) for line in lines]


def trial_steps(task: TrialTask, context: TrialContext) -> Generator[Progress, bool, Report]:
    """Run a trial without training that writes the files of a real one: checkpoints, weights, and
    its report last."""
    context.num_trials += 1
    if (_notes() / f"short-timeout-{task.search}").exists():
        artifacts.WRITE_TIMEOUT_S = SHORT_WRITE_TIMEOUT_S
    first = _checkpoint(task)
    attempt = Attempt(task.proposal.name, task.attempt, os.getpid(), first)
    _note(task.search, attempt)
    for iteration in itertools.count(first):
        if iteration == NUM_SLICES:
            break
        time.sleep(SLICE_S)
        checkpoint = json.dumps({"slice": iteration + 1}).encode()
        artifacts.write(artifacts.join(task.artifacts, "resume.json"), checkpoint, name="resume")
        _note(f"slices-{task.search}", Slice(attempt.name, attempt.number, iteration))
        if iteration == 3 and (_notes() / f"cut-off-{task.search}").exists():
            _be_cut_off(task)
        while True:
            if not (yield fake_workers.progress(task, iteration)):
                return fake_workers.report(
                    task, outcome=Outcome.STOPPED, reason="stopped on request"
                )
            if iteration < 3 or not _is_held(task):
                break
            time.sleep(SLICE_S)
    done = fake_workers.success(task)
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, REPORT.dump_json(done), name="report")
    return done


def hold(notes: Path, search: str) -> None:
    """Hold the trials of this search, except the first two, in the middle until `release`."""
    (notes / f"hold-{search}").touch()


def release(notes: Path, search: str) -> None:
    """Let the held trials of this search continue."""
    (notes / f"hold-{search}").unlink()


def shorten_write_timeout(notes: Path, search: str) -> None:
    """Set the write timeout of later attempts at trials of this search to
    `SHORT_WRITE_TIMEOUT_S`."""
    (notes / f"short-timeout-{search}").touch()


def cut_off(notes: Path, search: str) -> None:
    """Make the next worker that reaches slice 3 of a trial of this search die, and its report be
    written later, as if the worker had been frozen or had lost its network."""
    (notes / f"cut-off-{search}").touch()


def _be_cut_off(task: TrialTask) -> None:
    (_notes() / f"cut-off-{task.search}").unlink()
    uri = artifacts.join(task.artifacts, "report.json")
    late = replace(fake_workers.success(task), params=LATE_PARAMS)
    command = [
        sys.executable,
        "-c",
        _REPORT_LATE,
        str(LATE_S),
        uri,
        REPORT.dump_json(late).decode(),
    ]
    subprocess.Popen(command, start_new_session=True)
    os._exit(1)


def _is_held(task: TrialTask) -> bool:
    return task.proposal.name not in FIRST and (_notes() / f"hold-{task.search}").exists()


def _note(name: str, what: Attempt | Slice) -> None:
    with (_notes() / name).open("a") as file:
        file.write(f"{json.dumps(asdict(what))}\n")


def _notes() -> Path:
    return Path(os.environ[NOTES])


def _checkpoint(task: TrialTask) -> int:
    """The first slice that no earlier attempt has trained."""
    for folder in task.previous_attempts:
        uri = artifacts.join(folder, "resume.json")
        if artifacts.exists(uri):
            try:
                return int(artifacts.read_json(uri)["slice"])
            except ArtifactError:
                continue  # truncated; try the checkpoint of an earlier attempt
    return 0
