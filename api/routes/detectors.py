"""The endpoints of single trials and of the detectors that they trained."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api import downloads, schemas
from api.auth import Caller, CallerDep, check_owner
from api.dependencies import ArtifactName, DatabaseDep, TrialId
from api.schemas.breakdowns import Predictions
from api.views import breakdowns
from api.views import resources as views
from searchd.domain.errors import NotFoundError
from searchd.store.models import TrialRow
from searchd.store.runs import retention, trials
from searchd.store.work import queue

router = APIRouter(tags=["detectors"])


@router.get("/trials/{trial_id}")
def get_trial(trial_id: TrialId, database: DatabaseDep) -> schemas.TrialDetails:
    """Return a trial with everything that its worker reported."""
    with database.read() as session:
        return views.trial_details(trials.get(session, trial_id))


@router.get("/detectors/{trial_id}")
def get_detector(trial_id: TrialId, database: DatabaseDep) -> schemas.Detector:
    """Return the detector that the trial trained. The base detector is the trial named base."""
    with database.read() as session:
        return views.detector(session, trials.get(session, trial_id))


@router.get("/detectors/{trial_id}/predictions")
def get_predictions(trial_id: TrialId, database: DatabaseDep) -> Predictions:
    """Return what the detector finds on sample images of the validation split, beside what is in
    them."""
    with database.read() as session:
        return breakdowns.predictions(session, trials.get(session, trial_id))


@router.get(
    "/detectors/{trial_id}/artifacts/{name}",
    response_class=StreamingResponse,
    responses=downloads.RESPONSES,
)
def download_artifact(
    trial_id: TrialId, name: ArtifactName, database: DatabaseDep
) -> StreamingResponse:
    """Download a file of the detector: student (safetensors of the whole detector), adapters and
    others.

    The headers `Repr-Digest` (RFC 9530) and `ETag` have its SHA-256.
    """
    with database.read() as session:
        row = trials.get(session, trial_id)
    stored = next((each for each in row.artifacts if each.name == name), None)
    if stored is None:
        names = ", ".join(each.name for each in row.artifacts) or "none"
        raise NotFoundError(f"trial {trial_id} has no artifact {name!r}; it has: {names}")
    stored.check_there()
    return downloads.stream(stored.artifact, trial_id)


@router.post("/detectors/{trial_id}/pin")
def pin_detector(
    trial_id: TrialId, database: DatabaseDep, caller: CallerDep
) -> schemas.TrialDetails:
    """Pin the trial, so that garbage collection keeps its files. Repeating the request changes
    nothing."""
    with database.write() as session:
        return views.trial_details(_pinned(session, trial_id, caller, pinned=True))


@router.post("/detectors/{trial_id}/unpin")
def unpin_detector(
    trial_id: TrialId, database: DatabaseDep, caller: CallerDep
) -> schemas.TrialDetails:
    """Unpin the trial, so that garbage collection may delete its files once nothing needs them.
    Repeating the request changes nothing."""
    with database.write() as session:
        return views.trial_details(_pinned(session, trial_id, caller, pinned=False))


def _pinned(session: Session, trial_id: str, caller: Caller, *, pinned: bool) -> TrialRow:
    row = trials.get(session, trial_id)
    check_owner(caller, queue.resource(session, queue.of_resource(session, row.run_id)))
    return retention.pin(session, trial_id, pinned=pinned)
