"""Runs the evaluation of a registered teacher on the cluster, and records the report."""

import logging

import ray

from searchd import artifacts
from searchd.domain.errors import ArtifactError, CheckpointError, DataError, InvalidValueError
from searchd.domain.lifecycle import TeacherStatus
from searchd.driver.cluster import connect, resolve
from searchd.messages.codecs import TEACHER_REPORT
from searchd.messages.files import REPORT_FILE
from searchd.messages.reports import TeacherReport
from searchd.messages.tasks import TeacherEvaluationTask, device_of, gpu_memory_of, threads_of
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow, TeacherRow
from searchd.store.resources import pools, teachers
from searchd.store.work import queue

log = logging.getLogger(__name__)


def run_teacher(database: Database, lease: Lease, settings: Settings) -> TeacherStatus:
    """Evaluate the teacher, or record the report that an earlier attempt left in the store.

    Returns:
        READY, or FAILED; the recorded reason names the problem of the checkpoint or the data.

    Raises:
        RayError: The worker was lost; the coordinator is to start another attempt.
    """
    report, problem = _written_report(database, lease, settings), ""
    if report is None:
        report, problem = _evaluate(database, lease, settings)
    with database.write() as session:
        if report is not None:
            return teachers.record_report(session, lease, report).status
        queue.finish(session, lease, TeacherStatus.FAILED, problem)
        return TeacherStatus.FAILED


def _evaluate(
    database: Database, lease: Lease, settings: Settings
) -> tuple[TeacherReport | None, str]:
    task = _task(database, lease, settings)
    connect(settings)
    remote = ray.remote(num_cpus=task.spec.cpus, num_gpus=task.spec.gpus)(_attempt)
    found: tuple[TeacherReport | None, str] = ray.get(
        remote.remote(settings.teacher_evaluation, task)
    )
    return found


def _attempt(path: str, task: TeacherEvaluationTask) -> tuple[TeacherReport | None, str]:
    """Return the report, or None and an error that another attempt would not change."""
    try:
        return resolve(path)(task), ""
    except (ArtifactError, CheckpointError, DataError, InvalidValueError) as error:
        return None, f"{type(error).__name__}: {error}"


def _task(database: Database, lease: Lease, settings: Settings) -> TeacherEvaluationTask:
    """Return the task of this attempt. Each lease is one attempt."""
    with database.read() as session:
        row = _row(database, lease)
        spec = row.spec
        dataset = session.get_one(DatasetRow, row.dataset_id)
        pool = None if row.pool_id is None else pools.reference(session, row.pool_id)
        student = None if spec.trial is None else teachers.student(session, spec.trial)
    return TeacherEvaluationTask(
        teacher=row.id,
        spec=spec,
        dataset=dataset.spec.as_checked(dataset.summary),
        pool=pool,
        student=student,
        artifacts=_folder(settings, row.id, lease.number),
        num_threads=threads_of(spec.cpus),
        device=device_of(spec.gpus),
        gpu_memory=gpu_memory_of(spec.gpus, limited=settings.limit_gpu_memory),
    )


def _written_report(database: Database, lease: Lease, settings: Settings) -> TeacherReport | None:
    """Return the latest report in the artifact store that no driver has recorded, or None."""
    teacher_id = _row(database, lease).id
    for attempt in range(lease.number - 1, 0, -1):
        uri = artifacts.join(_folder(settings, teacher_id, attempt), REPORT_FILE)
        if artifacts.exists(uri):
            log.info(
                "teacher %s: found the report %s of an earlier attempt; recording it",
                teacher_id,
                uri,
            )
            return TEACHER_REPORT.validate_python(artifacts.read_json(uri))
    return None


def _row(database: Database, lease: Lease) -> TeacherRow:
    with database.read() as session:
        return session.get_one(TeacherRow, queue.get(session, lease.work_id).resource_id)


def _folder(settings: Settings, teacher_id: str, attempt: int) -> str:
    return artifacts.join(settings.artifact_root, "teachers", teacher_id, f"attempt-{attempt}")
