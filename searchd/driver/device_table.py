"""Has the lookup table of a device measured on the device, and records the report."""

import logging

import ray

from searchd import artifacts
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import DeviceStatus
from searchd.driver.cluster import connect, resolve
from searchd.driver.devices import placement
from searchd.messages.codecs import DEVICE_REPORT
from searchd.messages.devices import DeviceReport, DeviceTask
from searchd.messages.files import REPORT_FILE
from searchd.settings import Settings
from searchd.store import Database, Lease
from searchd.store.models import DeviceRow
from searchd.store.resources import devices
from searchd.store.work import queue

log = logging.getLogger(__name__)


def run_device(database: Database, lease: Lease, settings: Settings) -> DeviceStatus:
    """Measure the table, or record the report that an earlier attempt left in the store.

    Returns:
        READY, or FAILED; the recorded reason says what is missing.

    Raises:
        RayError: The worker was lost; the coordinator is to start another attempt.
    """
    with database.read() as session:
        row = session.get_one(DeviceRow, queue.get(session, lease.work_id).resource_id)
    report, problem = _written_report(row.id, lease, settings), ""
    if report is None:
        report, problem = _measure(row, lease, settings)
    with database.write() as session:
        if report is not None:
            return devices.record_report(session, lease, report).status
        queue.finish(session, lease, DeviceStatus.FAILED, problem)
        return DeviceStatus.FAILED


def _measure(row: DeviceRow, lease: Lease, settings: Settings) -> tuple[DeviceReport | None, str]:
    folder = _folder(settings, row.id, lease.number)
    task = DeviceTask(device=row.id, spec=row.spec, artifacts=folder)
    connect(settings)
    cpus, gpus = row.spec.threads, int(row.spec.gpu)
    try:
        node = placement(row.spec)
    except InvalidValueError as error:
        return None, str(error)
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, resources=node)(_attempt)
    found: tuple[DeviceReport | None, str] = ray.get(remote.remote(settings.device_table, task))
    return found


def _attempt(path: str, task: DeviceTask) -> tuple[DeviceReport | None, str]:
    """Return the report, or None and an error that another attempt would not change."""
    try:
        return resolve(path)(task), ""
    except InvalidValueError as error:
        return None, str(error)


def _written_report(device_id: str, lease: Lease, settings: Settings) -> DeviceReport | None:
    """Return the latest report in the artifact store that no driver has recorded, or None."""
    for attempt in range(lease.number - 1, 0, -1):
        uri = artifacts.join(_folder(settings, device_id, attempt), REPORT_FILE)
        if artifacts.exists(uri):
            log.info("device %s: recording the report %s of an earlier attempt", device_id, uri)
            return DEVICE_REPORT.validate_python(artifacts.read_json(uri))
    return None


def _folder(settings: Settings, device_id: str, attempt: int) -> str:
    return artifacts.join(settings.artifact_root, "devices", device_id, f"attempt-{attempt}")
