"""Distillations: a student, and an ordered sequence of teachers."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import data_roots, events
from api.auth import CallerDep, check_owner
from api.dependencies import (
    NO_CONTENT,
    DatabaseDep,
    IdempotencyKey,
    LastEventId,
    PageSize,
    PageToken,
    Reference,
    RulesDep,
    ValidateOnly,
    created,
)
from api.routes.lifecycle import add_calls
from api.schemas import distillations as distillation_schemas
from api.schemas import resources as schemas
from api.views import distillations as distillation_views
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import DistillationSpec
from searchd.store.models import DistillationRow
from searchd.store.resources import distillations
from searchd.store.runs import trials
from searchd.store.runs.extension import ask_to_extend

router = APIRouter(prefix="/distillations", tags=["distillations"])


def _find(database: DatabaseDep, distillation: Reference) -> DistillationRow:
    with database.read() as session:
        return distillations.get(session, distillation)


Found = Annotated[DistillationRow, Depends(_find)]


@router.post(
    "",
    response_model=distillation_schemas.DistillationDetails,
    status_code=status.HTTP_201_CREATED,
    responses=NO_CONTENT,
)
def create_distillation(
    spec: DistillationSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Submit a distillation; it is queued until the cluster has room."""
    data_roots.check_distillation(spec, rules.data_roots)
    with database.write() as session:
        row = distillations.create(
            session, spec, idempotency_key=idempotency_key, owner=caller.name
        )
        resource = distillation_views.distillation(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/distillations/{resource.id}", validate_only)


@router.get("", response_model=schemas.Page[distillation_schemas.Distillation])
def list_distillations(
    database: DatabaseDep,
    status: SearchStatus | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> object:
    """Distillations, newest first."""
    with database.read() as session:
        return distillations.page(
            session, status=status, page_size=page_size, page_token=page_token
        )


@router.get("/{distillation}")
def get_distillation(
    distillation: Reference, database: DatabaseDep
) -> distillation_schemas.DistillationDetails:
    """A distillation by id or name: the order of its teachers and why, how each stage stands, and
    how the order compares with its baselines and with all other orders."""
    with database.read() as session:
        return distillation_views.distillation(session, distillations.get(session, distillation))


add_calls(
    router,
    "distillation",
    distillations.get,
    distillation_views.distillation,
    distillation_schemas.DistillationDetails,
)


@router.post("/{distillation}/extend", status_code=status.HTTP_202_ACCEPTED)
def extend_distillation(
    distillation: Reference, database: DatabaseDep, caller: CallerDep
) -> distillation_schemas.DistillationDetails:
    """Let a distillation that failed or was cancelled go on. Its stages follow from its spec, so
    there is no more to be had of one that succeeded."""
    with database.write() as session:
        row = distillations.get(session, distillation)
        check_owner(caller, row)
        ask_to_extend(session, row.id)
        return distillation_views.distillation(session, row)


@router.get("/{distillation}/trials")
def list_distillation_trials(
    found: Found,
    database: DatabaseDep,
    status: TrialStatus | None = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> schemas.Page[schemas.Trial]:
    """The distillation's trials in the order they were proposed: the student as given, which is the
    trial named base, and the stages."""
    with database.read() as session:
        page = trials.page(
            session, found.id, status=status, page_size=page_size, page_token=page_token
        )
        items = [views.trial(row) for row in page.items]
    return schemas.Page(items=items, next_page_token=page.next_page_token)


@router.get("/{distillation}/lineage")
def get_distillation_lineage(found: Found, database: DatabaseDep) -> schemas.Lineage:
    """Which stage goes on from which, and what it gained. The parent of a base that is another
    run's student is that run's trial."""
    with database.read() as session:
        return views.lineage(session, [found])


@router.get("/{distillation}/pareto")
def get_distillation_pareto(
    found: Found,
    database: DatabaseDep,
    x: schemas.XAxis = "macs",
    y: schemas.YAxis = "ap",
) -> schemas.Pareto:
    """The Pareto front over the student after every stage at every resolution."""
    with database.read() as session:
        return views.pareto(session, [found], x, y)


@router.get("/{distillation}/events", response_class=EventSourceResponse)
async def stream_distillation_events(
    found: Found, database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """What happens to the distillation and its trials, as server-sent events, until it has
    ended."""
    async for event in events.stream(database, found.id, last_event_id):
        yield event
