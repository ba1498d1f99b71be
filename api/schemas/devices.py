"""The responses of the API about devices."""

from datetime import datetime

from api.schemas.base import Schema
from searchd.domain.lifecycle import DeviceStatus
from searchd.messages.devices import CheckedPrediction
from searchd.spec import DeviceSpec


class Device(Schema):
    """A device, whose latency searches may count as cost. What was measured is present once its
    status is ready."""

    id: str
    """Id of the device, assigned by the service."""
    name: str
    """Name of the device, by which searches refer to it."""
    owner: str | None
    """Name of the token that registered the device; null without authentication."""
    status: DeviceStatus
    """State of the device: measuring, ready or failed."""
    status_reason: str
    """Why the device has this status, in words; once ready, how far predictions are off."""
    spec: DeviceSpec
    """Spec that was submitted for the device."""
    round_to: int
    """Multiple of channels that searches on this device prune to, unless they set their own."""
    hardware: str | None
    """Processor or GPU that was measured, in words; null until ready."""
    software: str | None
    """Runtime and system with their versions, in words; null until ready."""
    host: str | None
    """Name of the machine that was measured; null until ready."""
    num_layers: int | None
    """Number of single layers in the lookup table; null until ready."""
    median_error: float | None
    """Median of the absolute relative errors of predictions for detectors that the table was not
    fitted to; null until ready."""
    largest_error: float | None
    """Largest of these errors; null until ready."""
    checked: list[CheckedPrediction]
    """Detectors that the table was not fitted to, with prediction and measurement."""
    num_measured: int | None
    """Number of measurements of layers and detectors; null until ready."""
    num_noisy: int | None
    """Number of measurements for which the machine was never quiet; null until ready."""
    created_at: datetime
    """Time when the device was registered, in UTC."""
    finished_at: datetime | None
    """Time when the measurement ended, in UTC; null before."""
    archived_at: datetime | None
    """Time when a user archived the device, in UTC; null while it is listed."""
