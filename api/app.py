"""The FastAPI app."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Security

from api import problems
from api.access_log import AccessLog
from api.answers import Answers
from api.auth import BEARER, WITHOUT_TOKENS, Gate, Rules
from api.body_limit import BodyLimit
from api.dependencies import check_json
from api.events import Feeds
from api.metrics import HttpMetrics, new_registry
from api.routes import (
    datasets,
    detectors,
    devices,
    distillations,
    exports,
    finish,
    forecasts,
    health,
    pools,
    searches,
    teachers,
    trial_logs,
    webhooks,
)
from api.schemas import PREFIX
from api.submission import NO_CHECKS, SubmissionChecks
from api.web_page import WebPage
from searchd.spec.described import describe
from searchd.store import Database

# FastAPI ignores it too, but only while it makes a validator; those of specs are made when needed.
warnings.filterwarnings("ignore", message="The 'alias' attribute with value")
MAX_BODY_BYTES = 1 << 20
"""Size of the largest request body; a spec has a few thousand bytes."""


def create_app(
    database: Database,
    rules: Rules = WITHOUT_TOKENS,
    artifacts: str = "",
    *,
    checks: SubmissionChecks = NO_CHECKS,
    instance: str = "",
    data_folder: Path | None = None,
) -> FastAPI:
    """Return the app.

    Args:
        database: The database, open and upgraded (`searchd.store.upgrade`).
        rules: Access rules.
        artifacts: URI of the artifact store.
        checks: Checks of files and cluster at submission.
        instance: Identifier of this start of the service, which `/healthz` returns.
        data_folder: The data folder, which `/healthz` returns if no tokens are needed.
    """
    app = _App(
        title="searchd",
        version=version("searchd"),
        description="A service that improves object detectors by architecture search, pruning and "
        "distillation.",
    )
    app.state.database = database
    app.state.rules = rules
    app.state.artifacts = artifacts
    app.state.checks = checks
    app.state.answers = Answers()
    app.state.feeds = Feeds(database)
    app.state.identity = {"instance": instance}
    if data_folder is not None and not rules.tokens_needed:
        app.state.identity["data_folder"] = str(data_folder.absolute())
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY_BYTES)
    app.add_middleware(Gate, database=database, rules=rules)
    app.state.metrics = new_registry(database)
    # The last one added is the outermost, which also sees what the others refuse.
    app.add_middleware(HttpMetrics, registry=app.state.metrics)
    app.add_middleware(AccessLog)
    problems.install(app)
    shared = [Depends(check_json), *([Security(BEARER)] if rules.tokens_needed else [])]
    routes = APIRouter(prefix=PREFIX, responses=problems.RESPONSES, dependencies=shared)
    runs = (searches, forecasts, finish, distillations)
    detectors_ = (detectors, exports, devices)
    for noun in (datasets, pools, teachers, *runs, trial_logs, *detectors_, webhooks):
        routes.include_router(noun.router)
    app.include_router(routes)
    app.include_router(health.router)
    app.mount("/", WebPage(), name="web")
    return app


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, in which errors are problem details and every field has a
        description."""
        if self.openapi_schema is None:
            document = super().openapi()
            problems.describe(document)
            describe(document["components"]["schemas"])
        assert self.openapi_schema is not None  # FastAPI stores the document that it built
        return self.openapi_schema
