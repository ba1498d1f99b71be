"""Trials without torch: a second and a half each, with a checkpoint at every slice.

Every attempt leaves a line in the folder NOTES, which is not the artifact store: faults may make
that one refuse writes.
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
from searchd.messages.reports import REPORT, Progress, Report
from searchd.messages.tasks import TrialTask
from tests import fake_workers
from tests.fake_workers import TrialContext

NOTES = "CHAOS_NOTES"
"""Variable that names the folder of the notes."""
ENVIRONMENT = {**fake_workers.ENVIRONMENT, "SEARCHD_TRIAL_MODULE": "tests.chaos.workers"}
NUM_SLICES = 10
SLICE_S = 0.15
FIRST = ("base", "0")
IMPATIENCE_S = 2.0
"""That an impatient worker waits for a store that takes no writes, instead of
`searchd.artifacts.PATIENCE_S`."""
LATE_S = 1.0
LATE_PARAMS = 666
"""Of the student in a late report, by which it is told from a good one."""
_REPORT_LATE = """
import sys, time
from searchd import artifacts
time.sleep(float(sys.argv[1]))
artifacts.write(sys.argv[2], sys.argv[3].encode(), name="report")
"""

__all__ = ["TrialContext", "trial_steps"]


@dataclass(frozen=True)
class Attempt:
    """What a worker noted when it began.

    Attributes:
        name: Of the trial.
        number: Of the attempt.
        pid: Of the worker process.
        first_slice: The first that it trains: above 0 when it goes on from a checkpoint.
    """

    name: str
    number: int
    pid: int
    first_slice: int


def attempts(notes: Path, search: str) -> list[Attempt]:
    """Every attempt at a trial of a search that a worker began, in order."""
    file = notes / search
    if not file.exists():
        return []
    return [Attempt(**json.loads(line)) for line in file.read_text().splitlines()]


def trial_steps(task: TrialTask, context: TrialContext) -> Generator[Progress, bool, Report]:
    """Trains nothing, and writes as a real trial does: checkpoints, weights, at last its report."""
    context.num_trials += 1
    if (_notes() / f"impatient-{task.search}").exists():
        artifacts.WRITE_TIMEOUT_S = IMPATIENCE_S
    first = _checkpoint(task)
    attempt = Attempt(task.proposal.name, task.attempt, os.getpid(), first)
    with (_notes() / task.search).open("a") as file:
        file.write(f"{json.dumps(asdict(attempt))}\n")
    for iteration in itertools.count(first):
        if iteration == NUM_SLICES:
            break
        time.sleep(SLICE_S)
        checkpoint = json.dumps({"slice": iteration + 1}).encode()
        artifacts.write(artifacts.join(task.artifacts, "resume.json"), checkpoint, name="resume")
        if iteration == 3 and (_notes() / f"cut-off-{task.search}").exists():
            _be_cut_off(task)
        while True:
            if not (yield fake_workers.progress(task, iteration)):
                return fake_workers.report(task, outcome=Outcome.STOPPED, reason="told to stop")
            if iteration < 3 or not _is_held(task):
                break
            time.sleep(SLICE_S)
    done = fake_workers.success(task)
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, REPORT.dump_json(done), name="report")
    return done


def hold(notes: Path, search: str) -> None:
    """Trials of this search after the first two stay in their middle until released."""
    (notes / f"hold-{search}").touch()


def release(notes: Path, search: str) -> None:
    (notes / f"hold-{search}").unlink()


def be_impatient(notes: Path, search: str) -> None:
    """Attempts at trials of this search that begin from now on wait `IMPATIENCE_S`."""
    (notes / f"impatient-{search}").touch()


def cut_off(notes: Path, search: str) -> None:
    """The next worker that gets to slice 3 of a trial of this search is lost to the service, and
    yet writes its report later: as one does that was frozen or lost its network."""
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
                continue  # cut short; an earlier attempt's may do
    return 0
