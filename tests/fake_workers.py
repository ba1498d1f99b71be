"""Workers without torch: trials, a pool's training and a data set check that take a moment.

The service finds them by the dotted paths in its settings; see `ENVIRONMENT`. Every attempt at a
trial appends a line to `begun.txt` in the run's folder. The name of the data set can inject faults;
see `ACCIDENTS` and `ENDLESS`.
"""

import itertools
import os
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from searchd import artifacts
from searchd.domain.detector import MmdetDetector
from searchd.domain.resolution import Resolution
from searchd.domain.trial import Artifact, Evaluation, Outcome
from searchd.messages.codecs import POOL_REPORT, REPORT, TEACHER_REPORT
from searchd.messages.reports import (
    EpochMetrics,
    FeatureLevel,
    PoolProgress,
    PoolReport,
    Progress,
    Report,
    TeacherReport,
)
from searchd.messages.tasks import (
    AdaptationCostTask,
    Comparison,
    LatencyTask,
    PoolTrainingTask,
    SplitMeasurement,
    SplitTask,
    TeacherEvaluationTask,
    TrialTask,
)
from searchd.spec import DatasetSpec

ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "SEARCHD_CHECK_FILES": "off",  # the data sets of these tests have no files
    "SEARCHD_TRIAL_MODULE": "tests.fake_workers",
    "SEARCHD_ADAPTATION_COSTS": "tests.fake_workers:compare",
    "SEARCHD_LATENCY": "tests.fake_workers:measure_latencies",
    "SEARCHD_SPLIT_MEASUREMENT": "tests.fake_workers:measure_on_split",
    "SEARCHD_POOL_TRAINING": "tests.fake_workers:train_pool",
    "SEARCHD_TEACHER_EVALUATION": "tests.fake_workers:evaluate_teacher",
    "SEARCHD_DATASET_CHECK": "tests.fake_workers:check",
}
NUM_SLICES = 3
SLICE_S = 0.05

ACCIDENTS = "accidents"
"""Name of a data set on which the attempts below have a fault, written TRIAL/ATTEMPT."""
KILLS_DRIVER = "2/1"
"""The driver is killed after the report was written and before it is recorded."""
DIES = "3/1"
"""The worker process dies in the middle of the trial."""
HANGS = "4/1"
"""The worker hangs in the middle of the trial."""
ENDLESS = "endless"
"""Name of a data set on which trials run until they are stopped."""


class TrialContext:
    """The state of a worker between trials: how many trials it ran."""

    def __init__(self) -> None:
        self.num_trials = 0


def trial_steps(task: TrialTask, context: TrialContext) -> Generator[Progress, bool, Report]:
    """Run a trial without training; its AP follows from its number."""
    context.num_trials += 1
    attempt = f"{task.proposal.name}/{task.attempt}"
    fault = attempt if task.dataset.name == ACCIDENTS else ""
    _note_beginning(task, attempt)
    for iteration in itertools.count():
        if iteration == NUM_SLICES and task.dataset.name != ENDLESS:
            break
        time.sleep(SLICE_S)
        if iteration == 1 and fault == DIES:
            os._exit(1)
        if iteration == 1 and fault == HANGS:
            time.sleep(600)
        if not (yield progress(task, iteration)):
            return report(task, outcome=Outcome.STOPPED, reason="stopped on request")
    made = success(task)
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, REPORT.dump_json(made), name="report")
    if fault == KILLS_DRIVER:
        _kill_driver(f"search-{task.search}")
    return made


def train_pool(task: PoolTrainingTask, progress: Callable[[PoolProgress], bool]) -> PoolReport:
    """Report a trained pool without training it."""
    folder = Path(task.artifacts)
    if not progress(_pool_progress(task)):
        return PoolReport(
            pool=task.pool,
            attempt=task.attempt,
            outcome=Outcome.STOPPED,
            reason="stopped on request",
        )
    report = PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.SUCCEEDED,
        supernet=_file(str(folder / "supernet.safetensors"), "supernet"),
    )
    artifacts.write(str(folder / "report.json"), POOL_REPORT.dump_json(report), name="report")
    return report


def compare(task: AdaptationCostTask, is_cancelled: Callable[[], bool]) -> Comparison | None:
    """Report APs and adaptation costs without measuring: the AP in percent is the position of a
    teacher's name in alphabetical order, and a cost is the difference of two positions."""
    if is_cancelled():
        return None
    names = sorted({*task.compared, *task.teachers})
    positions = {name: position for position, name in enumerate(names)}
    costs: dict[str, dict[str, float]] = {}
    for source, target in task.pairs:
        costs.setdefault(source, {})[target] = float(abs(positions[source] - positions[target]))
    performance = {name: positions[name] / 100 for name in task.teachers}
    return Comparison(costs=costs, performance=performance)


def evaluate_teacher(task: TeacherEvaluationTask) -> TeacherReport:
    """Report a teacher without evaluating it. On the data set `ACCIDENTS` the driver is killed
    before it records the report."""
    given = task.student.detector if task.student else MmdetDetector(config="ssd300_coco")
    made = TeacherReport(
        detector=given,
        weights=_file(artifacts.join(task.artifacts, "teacher.safetensors"), "teacher"),
        params=1,
        evaluation=_evaluation(task.spec.resolution, 0.4),
        levels=(FeatureLevel(stride=8, channels=256),),
    )
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, TEACHER_REPORT.dump_json(made), name="report")
    if task.dataset.name == ACCIDENTS:
        _kill_driver(f"teacher-{task.teacher}")
    return made


def check(_spec: DatasetSpec) -> dict[str, Any]:
    """Accept every data set."""
    return {"class_names": ["circle", "square"]}


@dataclass
class Latency:
    """The same fields as `detection.measurement.latency.Latency`."""

    latency_s: float
    images_per_s: float


def measure_latencies(task: LatencyTask) -> list[Latency]:
    """Report 3 ms for every detector without measuring."""
    return [Latency(latency_s=0.003, images_per_s=333.0) for _ in task.detectors]


def measure_on_split(task: SplitTask) -> list[SplitMeasurement]:
    """Report an AP of 40 to 60 % for every detector without measuring."""
    resampled = tuple(0.4 + 0.0002 * number for number in range(1000))
    measurement = SplitMeasurement(
        ap=0.5,
        ap50=0.6,
        ap75=0.5,
        ap_small=-1,
        ap_medium=0.5,
        ap_large=0.5,
        num_images=8,
        resampled=resampled,
    )
    return [measurement for _ in task.detectors]


def attempts_begun(artifact_root: Path, search: str) -> list[str]:
    """Return every attempt at a trial that a worker began, such as "2/1", in order."""
    return (artifact_root / "searches" / search / "begun.txt").read_text().split()


def _note_beginning(task: TrialTask, attempt: str) -> None:
    search_folder = Path(task.artifacts).parents[1]
    search_folder.mkdir(parents=True, exist_ok=True)
    with (search_folder / "begun.txt").open("a") as file:
        file.write(f"{attempt}\n")


def success(task: TrialTask) -> Report:
    """Write a student and return the report of a trial that succeeded."""
    detector = task.detector or (task.inherited and task.inherited.detector)
    ap = 0.3 + 0.01 * (task.proposal.number % 7)
    evaluations = tuple(_evaluation(resolution, ap) for resolution in task.evaluated_at)
    epochs = (EpochMetrics(epoch=1, losses={"loss": 1.0}, learning_rate=0.1, duration_s=0.1),)
    return report(
        task,
        outcome=Outcome.SUCCEEDED,
        detector=detector,
        params=1,
        base_macs=1e9,
        evaluations=evaluations,
        epochs=epochs,
        artifacts=(_file(artifacts.join(task.artifacts, "student.safetensors"), "student"),),
    )


def _evaluation(resolution: Resolution, ap: float) -> Evaluation:
    return Evaluation(
        resolution=resolution,
        ap=ap,
        ap50=ap,
        ap75=ap,
        ap_small=-1.0,
        ap_medium=ap,
        ap_large=ap,
        macs=1e9,
        latency_s=0.01,
        images_per_s=100.0,
    )


def report(task: TrialTask, **values: Any) -> Report:
    """Return a report on this attempt."""
    return Report(trial=task.proposal.name, attempt=task.attempt, **values)


def _file(uri: str, name: str) -> Artifact:
    return artifacts.write(uri, b"weights", name=name)


def progress(task: TrialTask, iteration: int) -> Progress:
    """Return the progress of this attempt."""
    return Progress(
        trial=task.proposal.name,
        attempt=task.attempt,
        epoch=1,
        num_epochs=1,
        iteration=iteration,
        num_iterations=NUM_SLICES,
        stage="train",
        losses={"loss": 1.0},
    )


def _pool_progress(task: PoolTrainingTask) -> PoolProgress:
    return PoolProgress(
        pool=task.pool,
        attempt=task.attempt,
        phase="supernet",
        epoch=1,
        num_epochs=1,
        iteration=1,
        num_iterations=1,
        losses={},
    )


def _kill_driver(work: str) -> None:
    """SIGKILL the driver of a piece of work, and wait until Ray ends this worker too."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "searchd.driver" in command and f"--work={work}" in command:
            process.kill()
    time.sleep(600)
