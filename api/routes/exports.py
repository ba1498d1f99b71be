"""The endpoints of exports of detectors."""

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import StreamingResponse

from api import downloads, schemas
from api.auth import CallerDep, check_owner
from api.dependencies import (
    ArtifactName,
    ChecksDep,
    DatabaseDep,
    ExportReference,
    TrialId,
    created,
)
from api.views import resources as views
from searchd import artifacts
from searchd.spec import ExportSpec
from searchd.store.resources import exports

router = APIRouter(tags=["detectors"])
OF_TRIAL = "/detectors/{trial_id}/exports"


@router.post(OF_TRIAL, response_model=schemas.Export, status_code=status.HTTP_201_CREATED)
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


@router.get(OF_TRIAL)
def list_exports(trial_id: TrialId, database: DatabaseDep) -> list[schemas.Export]:
    """List the exports of a trial's detector with their measurements, oldest first."""
    with database.read() as session:
        return [views.export(row) for row in exports.of_trial(session, trial_id)]


@router.get(OF_TRIAL + "/{export}")
def get_export(trial_id: TrialId, export: ExportReference, database: DatabaseDep) -> schemas.Export:
    """Return an export by id or name, with its files and measurement."""
    with database.read() as session:
        return views.export(exports.get(session, trial_id, export))


@router.get(
    OF_TRIAL + "/{export}/files/{name}",
    response_class=StreamingResponse,
    responses=downloads.RESPONSES,
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


@router.get("/exports/{export}")
def find_export(export: ExportReference, database: DatabaseDep) -> schemas.Export:
    """Return an export of any trial by id or name, with its files and measurement."""
    with database.read() as session:
        return views.export(exports.find(session, export))


@router.delete(
    "/exports/{export}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses={204: {"description": "The export was deleted."}},
)
def delete_export(
    export: ExportReference, request: Request, database: DatabaseDep, caller: CallerDep
) -> Response:
    """Delete an export and its files. It is refused while the export is being written. The detector
    is not touched, and can be exported again."""
    with database.write() as session:
        row = exports.find(session, export)
        check_owner(caller, row)
        export_id = row.id
        exports.delete(session, row)
    if request.app.state.artifacts:
        artifacts.delete(artifacts.join(request.app.state.artifacts, "exports", export_id))
    return Response(status_code=status.HTTP_204_NO_CONTENT)
