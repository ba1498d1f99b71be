"""Devices: registered, measured once, then named by searches that count latency."""

from sqlalchemy.orm import Session

from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import DeviceStatus, WorkKind
from searchd.messages.devices import DeviceReport
from searchd.spec import DeviceSpec
from searchd.store import paging
from searchd.store.base import new_id
from searchd.store.models import DeviceRow
from searchd.store.resources import creation, removal
from searchd.store.work import queue
from searchd.store.work.lease import Lease, hold, locked


def create(
    session: Session,
    spec: DeviceSpec,
    *,
    idempotency_key: str | None = None,
    owner: str | None = None,
) -> DeviceRow:
    """Register a device and queue its measurement.

    Raises:
        ConflictError: The name is taken, or the key was used for another body.
    """
    row = creation.repeated(session, DeviceRow, spec, idempotency_key, owner)
    if row is not None:
        return row
    row = DeviceRow(
        id=new_id("d"),
        name=spec.name,
        spec=spec,
        idempotency_key=idempotency_key,
        owner=owner,
        status=DeviceStatus.MEASURING,
    )
    return creation.insert(session, row, WorkKind.DEVICE, "waits to be measured")


def get(session: Session, reference: str) -> DeviceRow:
    """Return a device by id or name.

    Raises:
        NotFoundError: It does not exist.
    """
    return paging.get(session, DeviceRow, "device", reference)


def record_report(session: Session, lease: Lease, report: DeviceReport) -> DeviceRow:
    """Store the lookup table: READY, and the work is done. Failures use `queue.finish`.

    Raises:
        StaleLeaseError: The lease was lost.
    """
    row = session.get_one(DeviceRow, hold(session, lease).resource_id)
    row.report = report
    reason = (
        f"predictions are {100 * report.median_error:.1f} % off (median of {len(report.checked)}, "
        f"largest {100 * report.largest_error:.1f} %)"
    )
    if report.num_noisy:
        reason += (
            f"; the machine was never quiet in {report.num_noisy} of {report.num_measured} "
            "measurements"
        )
    queue.finish(session, lease, DeviceStatus.READY, reason)
    return row


def delete(session: Session, row: DeviceRow) -> None:
    """Delete a device that is not being measured and that no search or distillation names.

    Raises:
        ConflictError: It is being measured, or is used.
    """
    locked(session, queue.of_resource(session, row.id).id)
    session.refresh(row)
    if row.status is DeviceStatus.MEASURING:
        raise ConflictError(f"{row.name} is {row.status}; it can be deleted once that has ended")
    removal.check_unused(session, row)
    removal.delete_rows(session, row)
