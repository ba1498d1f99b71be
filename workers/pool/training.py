"""Training a pool of teachers on Ray Train: an order in, a report out.

Imports no detector: the caller and Ray Train's controller only hand the work on; what each worker
does is `workers.pool.steps`. Progress reaches the caller, and its wish to stop the workers, as two
small files in the attempt's folder, which all of them can reach anyway.
"""

import importlib
from collections.abc import Callable
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any

from ray.train import RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchTrainer, get_device

from searchd import artifacts
from searchd.domain.lifecycle import FailureCause
from searchd.domain.trial import Outcome
from searchd.messages.files import POOL_STOP_FILE, PROGRESS_FILE, REPORT_FILE
from searchd.messages.reports import POOL_PROGRESS, POOL_REPORT, PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask

STEPS = "workers.pool.steps"
"""Module whose `pool_steps` the workers run. Named and not imported: it needs seconds and half a
gigabyte, in every process."""
POLL_S = 1.0
"""Seconds between two looks of the caller at the progress."""

OnProgress = Callable[[PoolProgress], bool]


def train_pool(task: PoolTrainingTask, progress: OnProgress = lambda _: True) -> PoolReport:
    """Train a pool with `num_workers` processes, over gloo on CPUs and NCCL on GPUs.

    Ray must have been initialised. Blocks until the training has ended.

    Args:
        order: What to do. Its paths and its artifact folder are read and written by the workers.
        progress: Called in this process about every second with where the training stands;
            returning False stops the workers at the end of their time slice; or at once, while
            they wait for a place in the cluster.

    Returns:
        The report. Failures are reported and not raised: `WORKER_LOST` when the workers ended
        without a report of their own, which has then not been written either.
    """
    threads = ThreadPool(1)  # of a kind that the end of the process does not wait for
    training = threads.apply_async(_trainer(task).fit)
    threads.close()
    try:
        while not _has_ended(training):
            if progress(_where_it_stands(task) or _beginning(task)):
                continue
            _tell_to_stop(task)
            if _where_it_stands(task) is None:
                return _stopped_report(task)  # what has not begun ends with this process
        result: Any = training.get()
    except TrainingFailedError as error:
        return _failed_report(task, error)
    finally:
        if not training.ready():  # `progress` raised: the workers end within a slice, unattended
            _tell_to_stop(task)
    report: PoolReport = result.return_value  # the first worker's
    return report


def _trainer(task: PoolTrainingTask) -> TorchTrainer:
    spec = task.spec
    resources = {"CPU": spec.cpus_per_worker}
    if spec.gpus_per_worker:
        resources["GPU"] = spec.gpus_per_worker
    return TorchTrainer(
        _train,  # type: ignore[arg-type] # what it returns becomes Result.return_value
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=spec.num_workers,
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker=resources,
        ),
        # Ray Train keeps a little state of its own there; checkpoints are ours.
        run_config=RunConfig(name="ray-train", storage_path=task.artifacts),
    )


def _train(config: dict[str, Any]) -> PoolReport | None:
    """What Ray Train runs in each worker."""
    task: PoolTrainingTask = config["task"]
    context = get_context()
    rank = context.get_world_rank()
    steps = importlib.import_module(STEPS)

    def post(progress: PoolProgress) -> bool:
        """What the first worker hears goes for all."""
        return rank > 0 or _post(task, progress)

    if rank == 0:
        _post(task, _beginning(task))
    report: PoolReport | None = steps.run(
        task,
        post,
        device=get_device() if task.device == "cuda" else "cpu",
        rank=rank,
        world_size=context.get_world_size(),
    )
    return report


def _post(task: PoolTrainingTask, progress: PoolProgress) -> bool:
    """Leave the progress for the caller; whether to go on."""
    uri = artifacts.join(task.artifacts, PROGRESS_FILE)
    artifacts.write(uri, POOL_PROGRESS.dump_json(progress), name="progress")
    return not artifacts.exists(artifacts.join(task.artifacts, POOL_STOP_FILE))


def _has_ended(training: AsyncResult[Any]) -> bool:
    training.wait(POLL_S)
    return training.ready()


def _where_it_stands(task: PoolTrainingTask) -> PoolProgress | None:
    """None while no worker has begun."""
    uri = artifacts.join(task.artifacts, PROGRESS_FILE)
    if artifacts.exists(uri):
        return POOL_PROGRESS.validate_json(artifacts.read_bytes(uri))
    return None


def _beginning(task: PoolTrainingTask) -> PoolProgress:
    phase = task.spec.phases[0]
    return PoolProgress(
        pool=task.pool,
        attempt=task.attempt,
        stage="start",
        phase=phase.name,
        epoch=1,
        num_epochs=phase.epochs,
        iteration=0,
        num_iterations=0,
        losses={},
    )


def _tell_to_stop(task: PoolTrainingTask) -> None:
    artifacts.write(artifacts.join(task.artifacts, POOL_STOP_FILE), b"", name="stop")


def _stopped_report(task: PoolTrainingTask) -> PoolReport:
    return PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.STOPPED,
        reason="told to stop before it had begun",
    )


def _failed_report(task: PoolTrainingTask, error: TrainingFailedError) -> PoolReport:
    """What a worker wrote down before it ended; else it was lost."""
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
