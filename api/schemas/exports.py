"""The responses of the API about exports of detectors."""

from datetime import datetime

from api.schemas.base import File, Schema
from searchd.domain.lifecycle import ExportStatus
from searchd.messages.exports import ExportMeasurement
from searchd.spec import ExportSpec


class Export(Schema):
    """An export of a detector. Its files and measurement are present once its status is ready."""

    id: str
    """Id of the export, assigned by the service."""
    name: str
    """Name of the export: its trial, format, precision and input."""
    owner: str | None
    """Name of the token that requested the export; null without authentication."""
    trial_id: str
    """Id of the trial whose detector is exported."""
    status: ExportStatus
    """State of the export: exporting, ready or failed."""
    status_reason: str
    """Why the export has this status, in words; for a failed one, what differs on which image."""
    spec: ExportSpec
    """Spec that was submitted for the export."""
    files: list[File]
    """Exported file, the program that runs it, and the model card; empty until ready."""
    measurement: ExportMeasurement | None
    """AP, differences from the detector, size and latency of the exported file; null until
    ready."""
    created_at: datetime
    """Time when the export was requested, in UTC."""
    finished_at: datetime | None
    """Time when the export ended, in UTC; null before."""
