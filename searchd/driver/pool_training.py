"""Runs the training of an elastic teacher pool: passes the task, and records the reports."""

import logging
import threading
import time

from searchd import artifacts
from searchd.domain.errors import SearchdError
from searchd.domain.lifecycle import PoolStatus
from searchd.driver.cluster import connect, resolve
from searchd.messages.codecs import POOL_REPORT
from searchd.messages.files import REPORT_FILE
from searchd.messages.reports import PoolProgress, PoolReport
from searchd.messages.tasks import PoolTrainingTask, device_of, gpu_memory_of, threads_of
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow, PoolRow
from searchd.store.resources import pools
from searchd.store.work import queue

log = logging.getLogger(__name__)

PROGRESS_INTERVAL_S = 1.0


class WorkersLostError(SearchdError):
    """The training ended without a report; another attempt can resume from its checkpoint."""


def run_pool(
    database: Database, lease: Lease, settings: Settings, stopping: threading.Event
) -> PoolStatus:
    """Train the pool, or record the report that an earlier attempt left in the artifact store.

    Args:
        database: The database with the pool.
        lease: The lease on the pool's work.
        settings: The path of the training's code, and intervals of workers.
        stopping: Set when the user asked to pause or cancel the training.

    Returns:
        The pool's status afterwards.

    Raises:
        WorkersLostError: The coordinator is to start another attempt.
    """
    task = _task(database, lease, settings)
    report = _written_report(task)
    if report is None and stopping.is_set():
        with database.write() as session:
            queue.stopped(session, lease)
            return session.get_one(PoolRow, task.pool).status
    if report is None:
        with database.write() as session:
            queue.advance(session, lease, PoolStatus.TRAINING, "its driver has started")
        connect(settings)
        train = resolve(settings.pool_training)
        report = train(task, _Progress(database, lease, stopping))
        if report.cause is not None and report.cause.is_retried:
            raise WorkersLostError(f"pool {task.pool}: {report.cause}: {report.reason}")
    with database.write() as session:
        return pools.record_report(session, lease, report).status


class _Progress:
    """Records the progress of the training; the result of a call is whether to continue."""

    def __init__(self, database: Database, lease: Lease, stopping: threading.Event) -> None:
        self._database = database
        self._lease = lease
        self._stopping = stopping
        self._has_acknowledged = False
        self._written_at = float("-inf")

    def __call__(self, progress: PoolProgress) -> bool:
        if time.monotonic() - self._written_at >= PROGRESS_INTERVAL_S:
            self._written_at = time.monotonic()
            with self._database.write() as session:
                pools.record_progress(session, self._lease, progress)
        if self._stopping.is_set() and not self._has_acknowledged:
            with self._database.write() as session:
                queue.acknowledge_stop(session, self._lease)
            self._has_acknowledged = True
        return not self._has_acknowledged


def _task(database: Database, lease: Lease, settings: Settings) -> PoolTrainingTask:
    """Return the task of this attempt. Each lease is one attempt."""
    with database.read() as session:
        row = session.get_one(PoolRow, queue.get(session, lease.work_id).resource_id)
        dataset = session.get_one(DatasetRow, row.dataset_id)
        start = pools.start_of(session, row.spec)
    folder = artifacts.join(settings.artifact_root, "pools", row.id)
    return PoolTrainingTask(
        pool=row.id,
        attempt=lease.number,
        spec=row.spec,
        dataset=dataset.spec.as_checked(dataset.summary),
        start=start,
        artifacts=artifacts.join(folder, f"attempt-{lease.number}"),
        previous_attempts=tuple(
            artifacts.join(folder, f"attempt-{earlier}")
            for earlier in range(lease.number - 1, 0, -1)
        ),
        num_threads=threads_of(row.spec.cpus_per_worker),
        device=device_of(row.spec.gpus_per_worker),
        gpu_memory=gpu_memory_of(row.spec.gpus_per_worker, limited=settings.limit_gpu_memory),
        slice_s=min(settings.slice_s, PoolTrainingTask.model_fields["slice_s"].default),
        checkpoint_s=settings.checkpoint_s,
    )


def _written_report(task: PoolTrainingTask) -> PoolReport | None:
    """Return the latest report in the artifact store that no driver has recorded, or None."""
    for folder in task.previous_attempts:
        uri = artifacts.join(folder, REPORT_FILE)
        if artifacts.exists(uri):
            log.info(
                "pool %s: found the report %s of an earlier attempt; recording it", task.pool, uri
            )
            return POOL_REPORT.validate_python(artifacts.read_json(uri))
    return None
