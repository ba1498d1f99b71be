"""The training of a pool of teachers on Ray Train, from a task to a report.

Imports neither detector nor torch, since the caller and Ray Train's controller only pass the work
on; `workers.pool.steps` is what each worker does. Workers report progress by a small file in the
attempt's folder, and the caller requests a stop by another: all of them can reach that folder.
"""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any, Protocol

import ray
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.exceptions import RayError
from ray.train import Result, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome
from searchd.messages.codecs import POOL_PROGRESS, POOL_REPORT
from searchd.messages.files import POOL_STOP_FILE, PROGRESS_FILE, REPORT_FILE
from searchd.messages.pool_export import IMPORT_PHASE
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask

STEPS = "workers.pool.steps"
"""Module with what the workers run. It is named and not imported here, because importing it takes
seconds and half a gigabyte in every process."""
POLL_S = 1.0
"""Seconds between the caller's reads of the progress."""

OnProgress = Callable[[PoolProgress], bool]


def train_pool(task: PoolTrainingTask, progress: OnProgress = lambda _: True) -> PoolReport:
    """Train a pool with `num_workers` processes, over gloo on CPUs and NCCL on GPUs.

    Ray must have been initialised. Blocks until the training has ended.

    Args:
        task: The pool to train, and how. The workers read and write its paths.
        progress: Called in this process about every second with the latest progress. Returning
            False stops the workers at the end of their time slice, or at once while they wait for
            resources of the cluster.

    Returns:
        The report. Failures are reported and not raised. The cause is `WORKER_LOST` if the workers
        ended without writing a report; then no report is in the attempt's folder either.
    """
    threads = ThreadPool(1)  # its thread does not keep the process alive
    training = threads.apply_async(_trainer(task).fit)
    threads.close()
    try:
        while not _has_ended(training):
            if progress(_latest_progress(task) or _initial_progress(task)):
                continue
            _request_stop(task)
            if _latest_progress(task) is None:
                return _stopped_report(task)  # a training that has not begun ends with this process
        result: Any = training.get()
    except (TrainingFailedError, RayError) as error:
        return _failed_report(task, error)
    finally:
        if not training.ready():  # `progress` raised: the workers stop within a slice
            _request_stop(task)
    report: PoolReport = result.return_value  # the first worker's
    return report


class _Trainer(Protocol):
    def fit(self) -> Result:
        """Train, and return the result of the first worker."""


def _trainer(task: PoolTrainingTask) -> _Trainer:
    return _torch_trainer(task) if find_spec("torch") else _TrainerElsewhere(task)


class _TrainerElsewhere:
    """Runs Ray Train on a node of workers: the head of a cluster need not have torch."""

    def __init__(self, task: PoolTrainingTask) -> None:
        self._task = task

    def fit(self) -> Result:
        node = ray.get(_node_of_workers.remote())
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        result: Result = ray.get(_fit.options(scheduling_strategy=there).remote(self._task))
        return result


# A head without torch offers no CPUs. The share lets the cluster start a node if there is none.
@ray.remote(num_cpus=0.001)
def _node_of_workers() -> str:
    return str(ray.get_runtime_context().get_node_id())


@ray.remote(num_cpus=0, max_retries=0)
def _fit(task: PoolTrainingTask) -> Result:
    return _torch_trainer(task).fit()


def _torch_trainer(task: PoolTrainingTask) -> _Trainer:
    from ray.train.torch import TorchTrainer  # imports torch

    spec = task.spec
    resources = {"CPU": spec.cpus_per_worker}
    if spec.gpus_per_worker:
        resources["GPU"] = spec.gpus_per_worker
    filesystem, folder = artifacts.located(task.artifacts)
    trainer: _Trainer = TorchTrainer(
        _train,  # type: ignore[arg-type] # its return value becomes Result.return_value
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=spec.num_workers,
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        # For Ray Train's own small state; checkpoints are written by the workers.
        run_config=RunConfig(
            name="ray-train",
            storage_path=folder,
            storage_filesystem=PyFileSystem(FSSpecHandler(filesystem)),
        ),
    )
    return trainer


def _train(config: dict[str, Any]) -> PoolReport | None:
    """Train in one worker of Ray Train."""
    from ray.train.torch import get_device

    task: PoolTrainingTask = config["task"]
    context = get_context()
    rank = context.get_world_rank()
    steps = importlib.import_module(STEPS)

    def publish(progress: PoolProgress) -> bool:
        """The first worker publishes; the others follow it and always continue."""
        return rank > 0 or _publish_progress(task, progress)

    if rank == 0:
        _publish_progress(task, _initial_progress(task))
    report: PoolReport | None = steps.run(
        task,
        publish,
        device=get_device() if task.device == "cuda" else "cpu",
        rank=rank,
        world_size=context.get_world_size(),
    )
    return report


def _publish_progress(task: PoolTrainingTask, progress: PoolProgress) -> bool:
    """Write the progress for the caller and return whether to continue."""
    uri = artifacts.join(task.artifacts, PROGRESS_FILE)
    artifacts.write(uri, POOL_PROGRESS.dump_json(progress), name="progress")
    return not artifacts.exists(artifacts.join(task.artifacts, POOL_STOP_FILE))


def _has_ended(training: AsyncResult[Any]) -> bool:
    training.wait(POLL_S)
    return training.ready()


def _latest_progress(task: PoolTrainingTask) -> PoolProgress | None:
    """Return the progress that the workers wrote last; None before any began."""
    uri = artifacts.join(task.artifacts, PROGRESS_FILE)
    if artifacts.exists(uri):
        return POOL_PROGRESS.validate_json(artifacts.read_bytes(uri))
    return None


def _initial_progress(task: PoolTrainingTask) -> PoolProgress:
    first = task.spec.phases[0]
    trains = task.spec.source is None
    return PoolProgress(
        pool=task.pool,
        attempt=task.attempt,
        stage="start",
        phase=first.name if trains else IMPORT_PHASE,
        epoch=1,
        num_epochs=first.epochs if trains else 1,
        iteration=0,
        num_iterations=0,
        losses={},
    )


def _request_stop(task: PoolTrainingTask) -> None:
    artifacts.write(artifacts.join(task.artifacts, POOL_STOP_FILE), b"", name="stop")


def _stopped_report(task: PoolTrainingTask) -> PoolReport:
    return PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.STOPPED,
        reason="stop requested before the training began",
    )


def _failed_report(task: PoolTrainingTask, error: Exception) -> PoolReport:
    """Return the report that a worker wrote before it ended, or one of lost workers."""
    uri = artifacts.join(task.artifacts, REPORT_FILE)
    if artifacts.exists(uri):
        return POOL_REPORT.validate_json(artifacts.read_bytes(uri))
    return PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.FAILED,
        cause=FailureCause.WORKER_LOST,
        reason=str(error),
    )
