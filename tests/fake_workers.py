"""Workers without torch: trials, pool training and data set check that take a moment.

The service finds them by the dotted paths of its settings; see `ENVIRONMENT`. Every attempt at a
trial leaves a line in `begun.txt` of the search's folder. What else happens depends on the name of
the data set; see `ACCIDENTS` and `ENDLESS`.
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
from searchd.messages.reports import (
    POOL_REPORT,
    REPORT,
    TEACHER_REPORT,
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
    TeacherEvaluationTask,
    TrialTask,
)
from searchd.spec import DatasetSpec

ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[1]),
    "SEARCHD_TRIAL_MODULE": "tests.fake_workers",
    "SEARCHD_ADAPTATION_COSTS": "tests.fake_workers:compare",
    "SEARCHD_LATENCY": "tests.fake_workers:measure_latencies",
    "SEARCHD_POOL_TRAINING": "tests.fake_workers:train_pool",
    "SEARCHD_TEACHER_EVALUATION": "tests.fake_workers:evaluate_teacher",
    "SEARCHD_DATASET_CHECK": "tests.fake_workers:check",
}
NUM_SLICES = 3
SLICE_S = 0.05

ACCIDENTS = "accidents"
"""Name of a data set on which attempts have the fates below."""
KILLS_DRIVER = "2/1"
"""Trial 2, attempt 1: the driver is killed after the report was written, before it is recorded."""
DIES = "3/1"
"""The worker process dies in the middle."""
HANGS = "4/1"
"""The worker does nothing any more."""
ENDLESS = "endless"
"""Name of a data set on which trials go on until they are told to stop."""


class TrialContext:
    """What a worker keeps: how many trials it ran."""

    def __init__(self) -> None:
        self.num_trials = 0


def trial_steps(task: TrialTask, context: TrialContext) -> Generator[Progress, bool, Report]:
    """Trains nothing: the AP follows from the trial's number."""
    context.num_trials += 1
    attempt = f"{task.proposal.name}/{task.attempt}"
    fate = attempt if task.dataset.name == ACCIDENTS else ""
    _note_beginning(task, attempt)
    for iteration in itertools.count():
        if iteration == NUM_SLICES and task.dataset.name != ENDLESS:
            break
        time.sleep(SLICE_S)
        if iteration == 1 and fate == DIES:
            os._exit(1)
        if iteration == 1 and fate == HANGS:
            time.sleep(600)
        if not (yield progress(task, iteration)):
            return report(task, outcome=Outcome.STOPPED, reason="told to stop")
    done = success(task)
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, REPORT.dump_json(done), name="report")
    if fate == KILLS_DRIVER:
        _kill_driver(f"search-{task.search}")
    return done


def train_pool(task: PoolTrainingTask, progress: Callable[[PoolProgress], bool]) -> PoolReport:
    """Trains nothing."""
    folder = Path(task.artifacts)
    if not progress(_pool_progress(task)):
        return PoolReport(
            pool=task.pool, attempt=task.attempt, outcome=Outcome.STOPPED, reason="told to stop"
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
    """Measures nothing: a detector's place in the alphabet is its AP in percent, and a cost is the
    distance to it."""
    if is_cancelled():
        return None
    places = {name: place for place, name in enumerate(sorted({*task.compared, *task.teachers}))}
    costs: dict[str, dict[str, float]] = {}
    for source, target in task.pairs:
        costs.setdefault(source, {})[target] = float(abs(places[source] - places[target]))
    return Comparison(costs=costs, performance={name: places[name] / 100 for name in task.teachers})


def evaluate_teacher(task: TeacherEvaluationTask) -> TeacherReport:
    """Evaluates nothing. By accident, its driver is killed before it records the report."""
    given = task.student.detector if task.student else MmdetDetector(config="ssd300_coco")
    done = TeacherReport(
        detector=given,
        weights=_file(artifacts.join(task.artifacts, "teacher.safetensors"), "teacher"),
        params=1,
        evaluation=_evaluation(task.spec.resolution, 0.4),
        levels=(FeatureLevel(stride=8, channels=256),),
    )
    uri = artifacts.join(task.artifacts, "report.json")
    artifacts.write(uri, TEACHER_REPORT.dump_json(done), name="report")
    if task.dataset.name == ACCIDENTS:
        _kill_driver(f"teacher-{task.teacher}")
    return done


def check(_spec: DatasetSpec) -> dict[str, Any]:
    """Checks nothing."""
    return {"class_names": ["circle", "square"]}


@dataclass
class Latency:
    """As `detection.measurement.latency.Latency`."""

    latency_s: float
    images_per_s: float


def measure_latencies(task: LatencyTask) -> list[Latency]:
    """Measures nothing: 3 ms each."""
    return [Latency(latency_s=0.003, images_per_s=333.0) for _ in task.detectors]


def attempts_begun(artifact_root: Path, search: str) -> list[str]:
    """Every attempt at a trial that a worker began, such as "2/1", in order."""
    return (artifact_root / "searches" / search / "begun.txt").read_text().split()


def _note_beginning(task: TrialTask, attempt: str) -> None:
    search_folder = Path(task.artifacts).parents[1]
    search_folder.mkdir(parents=True, exist_ok=True)
    with (search_folder / "begun.txt").open("a") as file:
        file.write(f"{attempt}\n")


def success(task: TrialTask) -> Report:
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
    return Report(trial=task.proposal.name, attempt=task.attempt, **values)


def _file(uri: str, name: str) -> Artifact:
    return artifacts.write(uri, b"weights", name=name)


def progress(task: TrialTask, iteration: int) -> Progress:
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
