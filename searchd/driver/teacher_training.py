"""Runs the training of a teacher on the cluster: passes the task, and records progress and report.

The worker reports its progress by a small file in the attempt's folder, and the driver requests a
stop by another, as for pools.
"""

import logging
import threading
from typing import Any

import ray
from ray.exceptions import RayError

from searchd import artifacts
from searchd.domain.errors import SearchdError
from searchd.domain.lifecycle import TeacherStatus
from searchd.domain.trial import Outcome
from searchd.driver.cluster import connect, resolve
from searchd.messages.codecs import TEACHER_PROGRESS, TEACHER_TRAINING_REPORT
from searchd.messages.files import POOL_STOP_FILE, PROGRESS_FILE, REPORT_FILE
from searchd.messages.reports import TeacherProgress, TeacherTrainingReport
from searchd.messages.tasks import TeacherTrainingTask, device_of, gpu_memory_of, threads_of
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow, TeacherRow
from searchd.store.resources import teachers
from searchd.store.work import queue

log = logging.getLogger(__name__)

POLL_S = 1.0
"""Seconds between the driver's reads of the progress."""


class WorkerLostError(SearchdError):
    """The training ended without a report; another attempt can resume from its checkpoint."""


def run_teacher_training(
    database: Database, lease: Lease, settings: Settings, stopping: threading.Event
) -> TeacherStatus:
    """Train the teacher, or record the report that an earlier attempt left in the artifact store.

    Args:
        database: The database with the teacher.
        lease: The lease on the teacher's work.
        settings: The path of the training's code, and intervals of workers.
        stopping: Set when the user asked to pause or cancel the training.

    Returns:
        The teacher's status afterwards.

    Raises:
        WorkerLostError: The coordinator is to start another attempt.
    """
    task = _task(database, lease, settings)
    report = _written_report(task)
    if report is None and stopping.is_set():
        with database.write() as session:
            queue.stopped(session, lease)
            return session.get_one(TeacherRow, task.teacher).status
    if report is None:
        with database.write() as session:
            queue.advance(session, lease, TeacherStatus.TRAINING, "its driver has started")
        connect(settings)
        report = _Training(database, lease, settings, task).run(stopping)
        if report.cause is not None and report.cause.is_retried:
            raise WorkerLostError(f"teacher {task.teacher}: {report.cause}: {report.reason}")
    with database.write() as session:
        return teachers.record_training(session, lease, report).status


class _Training:
    """The training in one Ray task, as the driver follows it."""

    def __init__(
        self, database: Database, lease: Lease, settings: Settings, task: TeacherTrainingTask
    ) -> None:
        self._database, self._lease, self._task = database, lease, task
        self._path = settings.teacher_training
        self._recorded: TeacherProgress | None = None

    def run(self, stopping: threading.Event) -> TeacherTrainingReport:
        """Follow the task to its end, and request that it stops once `stopping` is set.

        Raises:
            WorkerLostError: The worker process was lost.
        """
        spec = self._task.spec
        remote = ray.remote(num_cpus=spec.cpus, num_gpus=spec.gpus, max_retries=0)(_attempt)
        running: Any = remote.remote(self._path, self._task)
        has_stopped = False
        while not ray.wait([running], timeout=POLL_S)[0]:
            self._record_progress()
            if stopping.is_set() and not has_stopped:
                self._request_stop()
                has_stopped = True
                if self._recorded is None:  # it waits for resources of the cluster
                    ray.cancel(running, force=True)
                    return _stopped_report(self._task)
        self._record_progress()
        try:
            report: TeacherTrainingReport = ray.get(running)
        except RayError as error:
            raise WorkerLostError(f"teacher {self._task.teacher}: {error}") from error
        return report

    def _record_progress(self) -> None:
        uri = artifacts.join(self._task.artifacts, PROGRESS_FILE)
        if not artifacts.exists(uri):
            return
        progress = TEACHER_PROGRESS.validate_json(artifacts.read_bytes(uri))
        if progress == self._recorded:
            return
        with self._database.write() as session:
            teachers.record_progress(session, self._lease, progress)
        self._recorded = progress

    def _request_stop(self) -> None:
        with self._database.write() as session:
            queue.acknowledge_stop(session, self._lease)
        uri = artifacts.join(self._task.artifacts, POOL_STOP_FILE)
        artifacts.write(uri, b"", name="stop")


def _attempt(path: str, task: TeacherTrainingTask) -> TeacherTrainingReport:
    """Train in a worker of Ray."""

    def publish(progress: TeacherProgress) -> bool:
        """Write the progress for the driver and return whether to continue."""
        uri = artifacts.join(task.artifacts, PROGRESS_FILE)
        artifacts.write(uri, TEACHER_PROGRESS.dump_json(progress), name="progress")
        return not artifacts.exists(artifacts.join(task.artifacts, POOL_STOP_FILE))

    report: TeacherTrainingReport = resolve(path)(task, publish)
    return report


def _task(database: Database, lease: Lease, settings: Settings) -> TeacherTrainingTask:
    """Return the task of this attempt. Each lease is one attempt."""
    with database.read() as session:
        row = session.get_one(TeacherRow, queue.get(session, lease.work_id).resource_id)
        dataset = session.get_one(DatasetRow, row.dataset_id)
    folder = artifacts.join(settings.artifact_root, "teachers", row.id)
    return TeacherTrainingTask(
        teacher=row.id,
        attempt=lease.number,
        spec=row.spec,
        dataset=dataset.spec.as_checked(dataset.summary),
        artifacts=artifacts.join(folder, f"attempt-{lease.number}"),
        previous_attempts=tuple(
            artifacts.join(folder, f"attempt-{earlier}")
            for earlier in range(lease.number - 1, 0, -1)
        ),
        num_threads=threads_of(row.spec.cpus),
        device=device_of(row.spec.gpus),
        gpu_memory=gpu_memory_of(row.spec.gpus, limited=settings.limit_gpu_memory),
        slice_s=min(settings.slice_s, TeacherTrainingTask.model_fields["slice_s"].default),
        checkpoint_s=settings.checkpoint_s,
    )


def _stopped_report(task: TeacherTrainingTask) -> TeacherTrainingReport:
    return TeacherTrainingReport(
        teacher=task.teacher,
        attempt=task.attempt,
        outcome=Outcome.STOPPED,
        reason="stop requested before the training began",
    )


def _written_report(task: TeacherTrainingTask) -> TeacherTrainingReport | None:
    """Return the latest report in the artifact store that no driver has recorded, or None."""
    for folder in task.previous_attempts:
        uri = artifacts.join(folder, REPORT_FILE)
        if artifacts.exists(uri):
            log.info(
                "teacher %s: found the report %s of an earlier attempt; recording it",
                task.teacher,
                uri,
            )
            return TEACHER_TRAINING_REPORT.validate_python(artifacts.read_json(uri))
    return None
