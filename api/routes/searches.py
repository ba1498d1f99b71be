"""Searches, and what they found."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

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
from api.schemas import resources as schemas
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import SearchSpec
from searchd.store.models import RunRow, SearchRow
from searchd.store.resources import distillations, searches
from searchd.store.runs import trials
from searchd.store.runs.extension import ask_to_extend

router = APIRouter(prefix="/searches", tags=["searches"])


def _find(database: DatabaseDep, search: Reference) -> SearchRow:
    with database.read() as session:
        return searches.get(session, search)


Found = Annotated[SearchRow, Depends(_find)]
Descendants = Annotated[
    bool, Query(description="With the distillations that go on from the search's detectors")
]


@router.post(
    "",
    response_model=schemas.SearchDetails,
    status_code=status.HTTP_201_CREATED,
    responses=NO_CONTENT,
)
def create_search(
    spec: SearchSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Submit a search; it is queued until the cluster has room."""
    data_roots.check_search(spec, rules.data_roots)
    with database.write() as session:
        row = searches.create(session, spec, idempotency_key=idempotency_key, owner=caller.name)
        resource = views.search(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/searches/{resource.id}", validate_only)


@router.get("", response_model=schemas.Page[schemas.Search])
def list_searches(
    database: DatabaseDep,
    status: SearchStatus | None = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> object:
    """Searches, newest first."""
    with database.read() as session:
        return searches.page(session, status=status, page_size=page_size, page_token=page_token)


@router.get("/{search}")
def get_search(search: Reference, database: DatabaseDep) -> schemas.SearchDetails:
    """A search by id or name, with where it stands."""
    with database.read() as session:
        return views.search(session, searches.get(session, search))


add_calls(router, "search", searches.get, views.search, schemas.SearchDetails)


@router.post("/{search}/extend", status_code=status.HTTP_202_ACCEPTED)
def extend_search(
    search: Reference, extension: schemas.Extension, database: DatabaseDep, caller: CallerDep
) -> schemas.SearchDetails:
    """Give the search more budget. If it has ended it is queued again and goes on from what it has;
    if it failed or was cancelled, also under the budget that it had."""
    with database.write() as session:
        row = searches.get(session, search)
        check_owner(caller, row)
        ask_to_extend(session, row.id, extension.model_dump(exclude_unset=True))
        return views.search(session, row)


@router.get("/{search}/trials")
def list_trials(
    found: Found,
    database: DatabaseDep,
    status: TrialStatus | None = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> schemas.Page[schemas.Trial]:
    """The search's trials in the order they were proposed: the base, search trials, controls."""
    with database.read() as session:
        page = trials.page(
            session, found.id, status=status, page_size=page_size, page_token=page_token
        )
        items = [views.trial(row) for row in page.items]
    return schemas.Page(items=items, next_page_token=page.next_page_token)


@router.get("/{search}/lineage")
def get_lineage(
    found: Found, database: DatabaseDep, descendants: Descendants = True
) -> schemas.Lineage:
    """Which trial descends from which, by which edit, and what the edit gained."""
    with database.read() as session:
        return views.lineage(session, _family(session, found, descendants))


@router.get("/{search}/pareto")
def get_pareto(
    found: Found,
    database: DatabaseDep,
    x: schemas.XAxis = "macs",
    y: schemas.YAxis = "ap",
    descendants: Descendants = True,
) -> schemas.Pareto:
    """The Pareto front over every trained detector at every resolution, base and controls too."""
    with database.read() as session:
        return views.pareto(session, _family(session, found, descendants), x, y)


@router.get("/{search}/events", response_class=EventSourceResponse)
async def stream_search_events(
    found: Found, database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """What happens to the search and its trials, as server-sent events, until it has ended."""
    async for event in events.stream(database, found.id, last_event_id):
        yield event


def _family(session: Session, search: SearchRow, descendants: bool) -> list[RunRow]:
    return [search, *(distillations.descended(session, search.id) if descendants else ())]
