"""The FastAPI app."""

from importlib.metadata import version
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles

from api import problems
from api.body_limit import BodyLimit
from api.routes import datasets, detectors, health, pools, searches
from api.schemas import PREFIX
from searchd.store import Database

MAX_BODY_BYTES = 1 << 20
"""Largest request; a spec has a few thousand bytes."""
_WEB = Path(__file__).parent / "web"


def create_app(database: Database) -> FastAPI:
    """The app on an open database, whose tables must be up to date (`searchd.store.upgrade`)."""
    app = FastAPI(
        title="searchd",
        version=version("searchd"),
        description="Searches for better object detectors: NAS, pruning and distillation together",
    )
    app.state.database = database
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    problems.install(app)
    routes = APIRouter(prefix=PREFIX, responses=problems.RESPONSES)
    for noun in (datasets, pools, searches, detectors):
        routes.include_router(noun.router)
    app.include_router(routes)
    app.include_router(health.router)
    app.mount("/", StaticFiles(directory=_WEB, html=True), name="web")
    return app
