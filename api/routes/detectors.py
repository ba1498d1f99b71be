"""Trials one by one, and the detectors they trained."""

import base64
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.auth import Caller, CallerDep, check_owner
from api.dependencies import DatabaseDep, Reference
from api.schemas import resources as schemas
from api.views import resources as views
from searchd import artifacts
from searchd.domain.errors import NotFoundError
from searchd.domain.trial import Artifact
from searchd.store.models import TrialRow
from searchd.store.runs import retention, trials
from searchd.store.work import queue

router = APIRouter(tags=["detectors"])
MEDIA_TYPE = "application/octet-stream"


@router.get("/trials/{trial_id}")
def get_trial(trial_id: Reference, database: DatabaseDep) -> schemas.TrialDetails:
    """A trial with everything that its worker reported."""
    with database.read() as session:
        return views.trial_details(trials.get(session, trial_id))


@router.get("/detectors/{trial_id}")
def get_detector(trial_id: Reference, database: DatabaseDep) -> schemas.Detector:
    """The detector that the trial trained. The base detector is the trial named base."""
    with database.read() as session:
        return views.detector(session, trials.get(session, trial_id))


@router.get(
    "/detectors/{trial_id}/artifacts/{name}",
    response_class=StreamingResponse,
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}},
        410: {
            "model": schemas.Problem,
            "description": "The file is lost, damaged or was collected",
        },
    },
)
def download_artifact(
    trial_id: Reference, name: Reference, database: DatabaseDep
) -> StreamingResponse:
    """A file of the detector: student (safetensors of the whole detector), adapters, ...

    `Repr-Digest` (RFC 9530) and `ETag` hold its SHA-256.
    """
    with database.read() as session:
        row = trials.get(session, trial_id)
    stored = next((each for each in row.artifacts if each.name == name), None)
    if stored is None:
        names = ", ".join(each.name for each in row.artifacts) or "none"
        raise NotFoundError(f"trial {trial_id} has no artifact {name!r}; it has: {names}")
    stored.check_there()
    found = stored.artifact
    content = artifacts.chunks(found)
    return StreamingResponse(content, media_type=MEDIA_TYPE, headers=_headers(trial_id, found))


@router.post("/detectors/{trial_id}/pin")
def pin_detector(
    trial_id: Reference, database: DatabaseDep, caller: CallerDep
) -> schemas.TrialDetails:
    """Keep the trial's files, whatever comes of it; otherwise they are removed when nothing needs
    them any more. Asking twice is the same as asking once."""
    with database.write() as session:
        return views.trial_details(_pinned(session, trial_id, caller, pinned=True))


@router.post("/detectors/{trial_id}/unpin")
def unpin_detector(
    trial_id: Reference, database: DatabaseDep, caller: CallerDep
) -> schemas.TrialDetails:
    """Let the trial's files be removed when nothing needs them any more."""
    with database.write() as session:
        return views.trial_details(_pinned(session, trial_id, caller, pinned=False))


def _pinned(session: Session, trial_id: str, caller: Caller, *, pinned: bool) -> TrialRow:
    row = trials.get(session, trial_id)
    check_owner(caller, queue.resource(session, queue.of_resource(session, row.run_id)))
    return retention.pin(session, trial_id, pinned=pinned)


def _headers(trial_id: str, artifact: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    filename = quote(f"{trial_id}-{artifact.uri.rpartition('/')[2]}")
    return {
        "Content-Length": str(artifact.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{filename}",
        "Repr-Digest": f"sha-256=:{digest}:",
        "ETag": f'"{artifact.sha256}"',
    }
