"""The endpoints of distillations, of their stages and of their Pareto fronts."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import data_roots, events, schemas
from api.auth import CallerDep, check_owner
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    DistillationReference,
    IdempotencyKey,
    LastEventId,
    PageSize,
    PageToken,
    RulesDep,
    ValidateOnly,
    XAxisQuery,
    YAxisQuery,
    created,
)
from api.routes.lifecycle import add_calls, add_deletion
from api.schemas import distillations as distillation_schemas
from api.views import distillations as distillation_views
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import DistillationSpec
from searchd.store.models import DistillationRow
from searchd.store.resources import distillations
from searchd.store.runs import trials
from searchd.store.runs.extension import ask_to_extend

router = APIRouter(prefix="/distillations", tags=["distillations"])


def _find(database: DatabaseDep, distillation: DistillationReference) -> DistillationRow:
    with database.read() as session:
        return distillations.get(session, distillation)


Found = Annotated[DistillationRow, Depends(_find)]


@router.post(
    "",
    response_model=distillation_schemas.DistillationDetails,
    status_code=status.HTTP_201_CREATED,
    responses=VALIDATED,
)
def create_distillation(
    spec: DistillationSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Submit a distillation. It is queued until the cluster has enough free CPUs and GPUs."""
    data_roots.check_distillation(spec, rules.data_roots)
    warnings = checks.check(spec)
    spec = checks.completed(spec)
    with database.write() as session:
        row = distillations.create(
            session, spec, idempotency_key=idempotency_key, owner=caller.name
        )
        resource = distillation_views.distillation(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/distillations/{resource.id}", validate_only, warnings)


@router.get("", response_model=schemas.Page[distillation_schemas.Distillation])
def list_distillations(
    database: DatabaseDep,
    status: Annotated[SearchStatus | None, Query(description=STATUS_HELP)] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> object:
    """List distillations, newest first."""
    with database.read() as session:
        return distillations.page(
            session, status=status, page_size=page_size, page_token=page_token
        )


@router.get("/{distillation}")
def get_distillation(
    distillation: DistillationReference, database: DatabaseDep
) -> distillation_schemas.DistillationDetails:
    """Return a distillation by id or name: the order of its teachers and why, the state of each
    stage, and the order compared with its baselines and with all other orders."""
    with database.read() as session:
        return distillation_views.distillation(session, distillations.get(session, distillation))


add_calls(
    router,
    "distillation",
    distillations.get,
    distillation_views.distillation,
    distillation_schemas.DistillationDetails,
)
add_deletion(router, "distillation", "searches", distillations.get)


@router.post("/{distillation}/extend", status_code=status.HTTP_202_ACCEPTED)
def extend_distillation(
    distillation: DistillationReference, database: DatabaseDep, caller: CallerDep
) -> distillation_schemas.DistillationDetails:
    """Continue a distillation that failed or was cancelled. A distillation that succeeded cannot be
    extended: its spec determines its stages."""
    with database.write() as session:
        row = distillations.get(session, distillation)
        check_owner(caller, row)
        ask_to_extend(session, row.id)
        return distillation_views.distillation(session, row)


@router.get("/{distillation}/trials")
def list_distillation_trials(
    found: Found,
    database: DatabaseDep,
    status: Annotated[TrialStatus | None, Query(description=STATUS_HELP)] = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> schemas.Page[schemas.Trial]:
    """List the trials of the distillation in the order they were proposed: the given student, which
    is the trial named base, and the stages."""
    with database.read() as session:
        page = trials.page(
            session, found.id, status=status, page_size=page_size, page_token=page_token
        )
        items = [views.trial(row) for row in page.items]
    return schemas.Page(items=items, next_page_token=page.next_page_token)


@router.get("/{distillation}/lineage")
def get_distillation_lineage(found: Found, database: DatabaseDep) -> schemas.Lineage:
    """Return the lineage tree: the parent of each stage, and what the stage gained. If the student
    comes from another run, the parent of the base is the trial of that run."""
    with database.read() as session:
        return views.lineage(session, [found])


@router.get("/{distillation}/pareto")
def get_distillation_pareto(
    found: Found,
    database: DatabaseDep,
    x: XAxisQuery | None = None,
    y: YAxisQuery = "ap",
) -> schemas.Pareto:
    """Return the Pareto front over the student after every stage at every resolution."""
    with database.read() as session:
        return views.pareto(session, [found], x or views.default_axis(found), y)


@router.get("/{distillation}/events", response_class=EventSourceResponse)
async def stream_distillation_events(
    found: Found, database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the distillation and its trials as server-sent events until it has
    ended."""
    async for event in events.stream(database, found.id, last_event_id):
        yield event
