"""Tells webhooks that a resource has ended."""

from sqlalchemy.orm import Session

from searchd.domain.transitions import is_final
from searchd.domain.webhooks import WebhookEvent
from searchd.store import webhooks
from searchd.store.models import DatasetRow, DeviceRow, ExportRow, PoolRow, RunRow, TeacherRow

AnyEnding = DatasetRow | PoolRow | TeacherRow | ExportRow | DeviceRow | RunRow
_NOUNS = {
    DatasetRow: "dataset",
    PoolRow: "pool",
    TeacherRow: "teacher",
    ExportRow: "export",
    DeviceRow: "device",
}


def tell_end(session: Session, row: AnyEnding) -> None:
    """Queue a message about a resource that has just changed its status, if it has ended."""
    if not is_final(row.status):
        return
    event = WebhookEvent.FAILED if row.status.value == "failed" else WebhookEvent.ENDED
    noun = row.kind if isinstance(row, RunRow) else _NOUNS[type(row)]
    facts = {
        "id": row.id,
        "name": row.name,
        "status": row.status.value,
        "reason": row.status_reason,
        "owner": row.owner,
    }
    webhooks.tell(session, event, noun, facts)
