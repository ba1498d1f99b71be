"""The endpoints of exports of detectors."""

from fastapi import APIRouter, Response, status
from fastapi.responses import StreamingResponse

from api import downloads, schemas
from api.auth import CallerDep
from api.dependencies import (
    ArtifactName,
    ChecksDep,
    DatabaseDep,
    ExportReference,
    TrialId,
    created,
)
from api.views import resources as views
from searchd.spec import ExportSpec
from searchd.store.resources import exports

router = APIRouter(prefix="/detectors/{trial_id}/exports", tags=["detectors"])


@router.post("", response_model=schemas.Export, status_code=status.HTTP_201_CREATED)
def create_export(
    trial_id: TrialId,
    spec: ExportSpec,
    database: DatabaseDep,
    caller: CallerDep,
    checks: ChecksDep,
) -> Response:
    """Export the detector of a trial for use without this service. It is written and compared with
    the detector in the background. Repeating the request creates nothing new, unless the export
    failed: then it is tried again."""
    checks.check(spec)
    with database.write() as session:
        row = exports.create(session, trial_id, spec, owner=caller.name)
        resource = views.export(row)
    return created(resource, f"/detectors/{trial_id}/exports/{resource.id}", False, [])


@router.get("")
def list_exports(trial_id: TrialId, database: DatabaseDep) -> list[schemas.Export]:
    """List the exports of a trial's detector with their measurements, oldest first."""
    with database.read() as session:
        return [views.export(row) for row in exports.of_trial(session, trial_id)]


@router.get("/{export}")
def get_export(trial_id: TrialId, export: ExportReference, database: DatabaseDep) -> schemas.Export:
    """Return an export by id or name, with its files and measurement."""
    with database.read() as session:
        return views.export(exports.get(session, trial_id, export))


@router.get(
    "/{export}/files/{name}", response_class=StreamingResponse, responses=downloads.RESPONSES
)
def download_export(
    trial_id: TrialId, export: ExportReference, name: ArtifactName, database: DatabaseDep
) -> StreamingResponse:
    """Download a file of an export by the name in its `files`, for example model, predict, readme
    or card.

    The headers `Repr-Digest` (RFC 9530) and `ETag` have its SHA-256.
    """
    with database.read() as session:
        row = exports.get(session, trial_id, export)
        found = exports.file(row, name)
    return downloads.stream(found, row.trial_id)
