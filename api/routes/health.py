"""For whoever starts and watches the process."""

from fastapi import APIRouter, HTTPException, status
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import DatabaseDep
from api.schemas.resources import Problem
from searchd.store.migrate import is_current

router = APIRouter(tags=["health"])


@router.get("/healthz")
def is_alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Problem, "description": "It cannot be used yet"}})
def is_ready(database: DatabaseDep) -> dict[str, str]:
    """The database answers and has the tables that this version knows; 503 otherwise."""
    try:
        current = is_current(database)
    except SQLAlchemyError as error:
        reason = f"the database does not answer: {type(error).__name__}"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, reason) from error
    if not current:
        reason = "the database has other tables than this version knows; upgrade it"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, reason)
    return {"status": "ok"}
