"""Conversion of devices to the responses of the API."""

from api.schemas.devices import Device
from searchd.store.models import DeviceRow

_OF_ROW = (
    *("id", "name", "owner", "status", "status_reason", "spec", "created_at"),
    *("finished_at", "archived_at"),
)
_OF_REPORT = (
    *("hardware", "software", "host", "median_error", "largest_error", "num_measured"),
    "num_noisy",
)


def device(row: DeviceRow) -> Device:
    """Return a device, without the layers of its table."""
    report = row.report
    return Device.model_validate(
        {
            **{name: getattr(row, name) for name in _OF_ROW},
            **{name: getattr(report, name, None) for name in _OF_REPORT},
            "round_to": row.spec.round_to,
            "num_layers": None if report is None else len(report.table.layers),
            "checked": () if report is None else report.checked,
        }
    )
