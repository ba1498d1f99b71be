"""The training of a pool of teachers, as each data-parallel worker does it.

The first worker writes all files: a checkpoint at the end of each epoch, the supernet, and the
report last. Needs no database and no Ray: `workers.pool.training` runs this on a cluster,
`train_pool_inline` runs it in this process.
"""

import logging
import time
from collections.abc import Generator
from typing import Any

import torch
import torch.distributed as dist

from detection.data.coco import CocoSplit
from detection.stored_weights import read_weights, write_weights
from elastic_pool.evaluation import evaluate_subnet
from elastic_pool.training import PoolIteration, PoolTraining
from searchd.domain.subnet import Subnet
from searchd.domain.trial import Outcome
from searchd.messages.files import SUPERNET
from searchd.messages.reports import EvaluatedSubnet, PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask
from workers.pool.importing import import_steps
from workers.pool.results import Steps, Stopped, evaluate_subnets, stopped_report, write_report
from workers.pool.training import OnProgress
from workers.torch_settings import configure_torch
from workers.trial.checkpoints import delete_checkpoints, newest_checkpoint, write_checkpoint
from workers.trial.failures import cause_and_reason

log = logging.getLogger(__name__)


def train_pool_inline(task: PoolTrainingTask, progress: OnProgress = lambda _: True) -> PoolReport:
    """Train a pool in this process alone, whatever `num_workers` is.

    Args:
        task: The pool to train, and how.
        progress: Called after every time slice; returning False stops the training.

    Returns:
        The report. Failures are reported and not raised.
    """
    try:
        report = run(task, progress, device=task.device)
    except Exception as error:  # the boundary; `run` has already written the report
        return _failed_report(task, error)
    assert report is not None  # the first worker always reports
    return report


def run(
    task: PoolTrainingTask,
    progress: OnProgress,
    *,
    device: torch.device | str,
    rank: int = 0,
    world_size: int = 1,
) -> PoolReport | None:
    """Run `pool_steps` to its end. After every time slice `progress` decides whether to continue.

    Args:
        task: The pool to train, and how.
        progress: Called after every time slice; returning False stops the training.
        device: Device of this worker.
        rank: Rank of this worker, from 0.
        world_size: Number of workers.

    Returns:
        The report of the first worker; None from the others.

    Raises:
        Exception: Any failure, after its report was written. It is raised again so that Ray ends
            the other workers, which wait for this one.
    """
    steps = pool_steps(task, device=device, rank=rank, world_size=world_size)
    try:
        at = next(steps)
        while True:
            at = steps.send(progress(at))
    except StopIteration as end:
        report: PoolReport | None = end.value
        return report
    except Exception as error:  # the boundary: every failure becomes a report
        log.exception("training of pool %s failed", task.pool)
        write_report(task, _failed_report(task, error))
        raise


def pool_steps(
    task: PoolTrainingTask, *, device: torch.device | str, rank: int = 0, world_size: int = 1
) -> Steps:
    """Do one data-parallel worker's part, yielding a `PoolProgress` after every time slice. A pool
    with a `source` is imported instead.

    Send True to continue and False to stop; what is sent to the first worker holds for all. A
    stopped training has written a checkpoint. It resumes from there when a task names this
    attempt's folder among its `previous_attempts`.

    Returns:
        The report of the first worker, which it also wrote unless it was stopped; None from the
        others.

    Raises:
        NonFiniteLossError: A loss is infinite or not a number.
        CheckpointError: The pool that is imported cannot be read, or does not fit.
        DataError: The data set cannot be read.
        OSError: The artifact store refuses a write.
    """
    if task.spec.source is not None:
        return (yield from import_steps(task, task.spec.source, device=device, rank=rank))
    return (yield from _PoolWorker(task, device, rank, world_size).steps())


class _PoolWorker:
    """One data-parallel worker of one attempt."""

    def __init__(
        self, task: PoolTrainingTask, device: torch.device | str, rank: int, world_size: int
    ) -> None:
        configure_torch(task)
        self.task, self.device = task, device
        self.rank, self.world_size = rank, world_size
        self.train_split = CocoSplit(task.dataset.train)
        self.validation_split = CocoSplit(task.dataset.validation)
        self.training = PoolTraining(
            task.spec,
            self.train_split,
            start=None if task.start is None else read_weights(task.start),
            device=device,
            rank=rank,
            world_size=world_size,
            num_readers=task.num_readers,
        )
        self.slice_ends = time.monotonic() + task.slice_s
        self.checkpoint_due = time.monotonic() + task.checkpoint_s
        self.speed = _Speed()

    def steps(self) -> Steps:
        state = newest_checkpoint((self.task.artifacts, *self.task.previous_attempts))
        if state is not None:
            self.training.load_state_dict(state)
            log.info("pool %s resumes in phase %s", self.task.pool, self.training.phase.name)
        try:
            yield from self._train()
            if self.rank > 0:
                return None
            return self._store((yield from self._evaluate()))
        except Stopped:
            return stopped_report(self.task)

    def _train(self) -> Generator[PoolProgress, bool, None]:
        try:
            yield from self._measure_phase()  # an earlier attempt may have stopped before it
            for at in self.training.run():
                self.speed.count(at)
                if at.iteration.finished_epoch or time.monotonic() >= self.checkpoint_due:
                    self._checkpoint()
                if self._from_first_worker(time.monotonic() >= self.slice_ends):
                    yield from self._yield_progress(self._training_progress(at))
                yield from self._measure_phase()
        except Stopped:
            self._checkpoint()
            raise

    def _measure_phase(self) -> Generator[PoolProgress, bool, None]:
        """Measure what a phase that has ended has trained. The first worker does; the others wait
        for it after each progress, so none waits for more than one subnet."""
        subnets = self.training.unmeasured
        for done, subnet in enumerate(subnets):
            yield from self._yield_progress(self._evaluation_progress(done, len(subnets)))
            if self.rank == 0:
                self.training.add_measured(self._measured(subnet))
                self._checkpoint()

    def _measured(self, subnet: Subnet) -> EvaluatedSubnet:
        """Measure a subnet at the largest resolution alone, since the training waits."""
        spec = self.task.spec
        return evaluate_subnet(
            self.training.supernet,
            subnet,
            spec,
            train=self.train_split,
            validation=self.validation_split,
            device=self.device,
            resolutions=[max(spec.space.resolutions, key=lambda each: each.area)],
        )

    def _evaluate(self) -> Generator[PoolProgress, bool, tuple[EvaluatedSubnet, ...]]:
        """Evaluate subnets. Only the first worker does; the others have finished."""
        return (
            yield from evaluate_subnets(
                self.task,
                self.training.supernet,
                (self.train_split, self.validation_split),
                self._evaluation_progress,
                device=self.device,
            )
        )

    def _store(self, subnets: tuple[EvaluatedSubnet, ...]) -> PoolReport:
        weights = self.training.supernet.weights()
        report = PoolReport(
            pool=self.task.pool,
            attempt=self.task.attempt,
            outcome=Outcome.SUCCEEDED,
            supernet=write_weights(self.task.artifacts, SUPERNET, weights),
            subnets=subnets,
            epochs=self.training.epochs,
            notes=self.training.notes,
        )
        write_report(self.task, report)
        delete_checkpoints((self.task.artifacts, *self.task.previous_attempts))
        return report

    def _checkpoint(self) -> None:
        self.checkpoint_due = time.monotonic() + self.task.checkpoint_s
        if self.rank > 0:
            return
        write_checkpoint(self.task.artifacts, self.training.state_dict())

    def _yield_progress(self, progress: PoolProgress) -> Generator[PoolProgress, bool, None]:
        if not self._from_first_worker((yield progress)):
            raise Stopped
        self.slice_ends = time.monotonic() + self.task.slice_s

    def _from_first_worker(self, value: bool) -> bool:
        """Return the first worker's value on every worker, since clocks differ and only the first
        worker gets the caller's answers."""
        if self.world_size == 1:
            return value
        flag = torch.tensor(int(value), device=self.device)
        dist.broadcast(flag, src=0)
        return bool(flag.item())

    def _training_progress(self, at: PoolIteration) -> PoolProgress:
        return self._progress(
            stage="train",
            epoch=at.iteration.epoch,
            iteration=at.iteration.iteration,
            num_iterations=self.training.num_iterations,
            losses=self.training.mean_losses,
            seconds_left=self.speed.seconds_for(self.training.iterations_left(at)),
        )

    def _evaluation_progress(self, done: int, num_subnets: int) -> PoolProgress:
        """Return the progress of the evaluation, which counts subnets as iterations."""
        return self._progress(
            stage="evaluate",
            epoch=self.training.phase.training.epochs,
            iteration=done,
            num_iterations=num_subnets,
            losses={},
        )

    def _progress(self, **values: Any) -> PoolProgress:
        phase = self.training.phase
        return PoolProgress(
            pool=self.task.pool,
            attempt=self.task.attempt,
            phase=phase.name,
            num_epochs=phase.training.epochs,
            epochs=self.training.epochs,
            **values,
        )


class _Speed:
    """Measures the seconds per iteration of the current phase in this process."""

    def __init__(self) -> None:
        self._phase = -1
        self._since = 0.0
        self._num_iterations = 0

    def count(self, at: PoolIteration) -> None:
        if at.phase.index != self._phase:
            self._phase, self._since, self._num_iterations = at.phase.index, time.monotonic(), 0
        else:
            self._num_iterations += 1

    def seconds_for(self, num_iterations: int) -> float | None:
        """Estimate the seconds for a number of iterations; None before the phase's second."""
        if not self._num_iterations:
            return None
        return num_iterations * (time.monotonic() - self._since) / self._num_iterations


def _failed_report(task: PoolTrainingTask, error: Exception) -> PoolReport:
    cause, reason = cause_and_reason(error, task.gpu_memory)
    return PoolReport(
        pool=task.pool,
        attempt=task.attempt,
        outcome=Outcome.FAILED,
        cause=cause,
        reason=reason,
    )
