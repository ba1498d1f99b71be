"""Runs the export of a detector on the cluster, and records the report."""

import logging

import ray

from searchd import artifacts
from searchd.domain.errors import (
    ArtifactError,
    ConflictError,
    DataError,
    InvalidValueError,
    ParityError,
)
from searchd.domain.export_formats import FORMATS
from searchd.domain.lifecycle import ExportStatus
from searchd.driver.cluster import connect, resolve
from searchd.messages.codecs import EXPORT_REPORT
from searchd.messages.exports import ExportReport, ExportTask
from searchd.messages.files import REPORT_FILE
from searchd.messages.tasks import threads_of
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.models import DatasetRow, ExportRow
from searchd.store.resources import exports
from searchd.store.work import queue

log = logging.getLogger(__name__)


def run_export(database: Database, lease: Lease, settings: Settings) -> ExportStatus:
    """Export the detector, or record the report that an earlier attempt left in the store.

    Returns:
        READY, or FAILED; the recorded reason says what differs or is missing.

    Raises:
        RayError: The worker was lost; the coordinator is to start another attempt.
    """
    report, problem = _written_report(database, lease, settings), ""
    if report is None:
        report, problem = _export(database, lease, settings)
    with database.write() as session:
        if report is not None:
            return exports.record_report(session, lease, report).status
        queue.finish(session, lease, ExportStatus.FAILED, problem)
        return ExportStatus.FAILED


def _export(
    database: Database, lease: Lease, settings: Settings
) -> tuple[ExportReport | None, str]:
    try:
        task = _task(database, lease, settings)
    except (ConflictError, ArtifactError) as error:  # the weights were removed, for example
        return None, str(error)
    connect(settings)
    gpus = FORMATS[task.spec.format].gpus
    remote = ray.remote(num_cpus=task.spec.cpus, num_gpus=gpus)(_attempt)
    found: tuple[ExportReport | None, str] = ray.get(remote.remote(settings.detector_export, task))
    return found


def _attempt(path: str, task: ExportTask) -> tuple[ExportReport | None, str]:
    """Return the report, or None and an error that another attempt would not change."""
    try:
        return resolve(path)(task), ""
    except (ArtifactError, DataError, InvalidValueError, ParityError) as error:
        return None, str(error)


def _task(database: Database, lease: Lease, settings: Settings) -> ExportTask:
    """Return the task of this attempt. Each lease is one attempt."""
    with database.read() as session:
        row = _row(database, lease)
        dataset = session.get_one(DatasetRow, row.dataset_id)
        student, resolution = exports.subject(session, row)
        facts, licence = exports.facts(session, row), exports.licence(session, row)
    return ExportTask(
        export=row.id,
        spec=row.spec,
        detector=student.detector,
        student=student.student,
        dataset=dataset.spec.as_checked(dataset.summary),
        resolution=resolution,
        facts=facts,
        licence=licence,
        artifacts=_folder(settings, row.id, lease.number),
        num_threads=threads_of(row.spec.cpus),
    )


def _written_report(database: Database, lease: Lease, settings: Settings) -> ExportReport | None:
    """Return the latest report in the artifact store that no driver has recorded, or None."""
    export_id = _row(database, lease).id
    for attempt in range(lease.number - 1, 0, -1):
        uri = artifacts.join(_folder(settings, export_id, attempt), REPORT_FILE)
        if artifacts.exists(uri):
            log.info("export %s: recording the report %s of an earlier attempt", export_id, uri)
            return EXPORT_REPORT.validate_python(artifacts.read_json(uri))
    return None


def _row(database: Database, lease: Lease) -> ExportRow:
    with database.read() as session:
        return session.get_one(ExportRow, queue.get(session, lease.work_id).resource_id)


def _folder(settings: Settings, export_id: str, attempt: int) -> str:
    return artifacts.join(settings.artifact_root, "exports", export_id, f"attempt-{attempt}")
