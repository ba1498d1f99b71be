"""Health endpoints for supervisors of the process, and metrics for Prometheus."""

from fastapi import APIRouter, HTTPException, Request, status
from fastapi.responses import PlainTextResponse, Response
from sqlalchemy.exc import SQLAlchemyError

from api.dependencies import DatabaseDep
from api.metrics import CONTENT_TYPE, text_of
from api.schemas import Problem
from searchd.store.migrate import is_current

router = APIRouter(tags=["health"])


@router.get("/healthz")
def is_alive(request: Request) -> dict[str, str]:
    """Report that the process is alive, and which start of the service it belongs to. The data
    folder is reported only without authentication."""
    return {"status": "ok", **request.app.state.identity}


_UNAVAILABLE = {"model": Problem, "description": "The database is unavailable or not upgraded."}


@router.get("/readyz", responses={503: _UNAVAILABLE})
def is_ready(database: DatabaseDep) -> dict[str, str]:
    """Report that the database is available and has the schema of this version; 503 otherwise."""
    try:
        current = is_current(database)
    except SQLAlchemyError as error:
        reason = f"the database is unavailable: {type(error).__name__}"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, reason) from error
    if not current:
        reason = "the schema of the database is not that of this version; upgrade it"
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, reason)
    return {"status": "ok"}


@router.get("/metrics", response_class=PlainTextResponse)
def get_metrics(request: Request) -> Response:
    """Return the metrics of this API and of the whole service, in the text format of Prometheus."""
    return Response(text_of(request.app.state.metrics), media_type=CONTENT_TYPE)
