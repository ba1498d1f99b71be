"""Trials one by one, and the detectors they trained."""

import base64
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api import schemas, views
from api.dependencies import DatabaseDep, Reference
from searchd import artifacts
from searchd.domain.errors import NotFoundError
from searchd.domain.trial import Artifact
from searchd.store import trials

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
        410: {"model": schemas.Problem, "description": "The file is lost or damaged"},
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
    found = next((each.artifact for each in row.artifacts if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in row.artifacts) or "none"
        raise NotFoundError(f"trial {trial_id} has no artifact {name!r}; it has: {names}")
    content = artifacts.chunks(found)
    return StreamingResponse(content, media_type=MEDIA_TYPE, headers=_headers(trial_id, found))


def _headers(trial_id: str, artifact: Artifact) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    filename = quote(f"{trial_id}-{artifact.uri.rpartition('/')[2]}")
    return {
        "Content-Length": str(artifact.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{filename}",
        "Repr-Digest": f"sha-256=:{digest}:",
        "ETag": f'"{artifact.sha256}"',
    }
