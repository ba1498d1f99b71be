"""The endpoints of searches, of their trials and of their Pareto fronts."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.orm import Session

from api import data_roots, events, schemas
from api.auth import CallerDep, check_owner
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    IdempotencyKey,
    LastEventId,
    PageSize,
    PageToken,
    RulesDep,
    SearchReference,
    ValidateOnly,
    XAxisQuery,
    YAxisQuery,
    created,
)
from api.routes.lifecycle import add_calls, add_deletion
from api.schemas.reports import Report
from api.views import reports
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import SearchSpec
from searchd.store.models import RunRow, SearchRow
from searchd.store.resources import distillations, searches
from searchd.store.runs import trials
from searchd.store.runs.extension import ask_to_extend

router = APIRouter(prefix="/searches", tags=["searches"])


def _find(database: DatabaseDep, search: SearchReference) -> SearchRow:
    with database.read() as session:
        return searches.get(session, search)


Found = Annotated[SearchRow, Depends(_find)]
Descendants = Annotated[
    bool,
    Query(description="Whether to include distillations that continue from this search's trials."),
]


@router.post(
    "",
    response_model=schemas.SearchDetails,
    status_code=status.HTTP_201_CREATED,
    responses=VALIDATED,
)
def create_search(
    spec: SearchSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Submit a search. It is queued until the cluster has enough free CPUs and GPUs."""
    data_roots.check_search(spec, rules.data_roots)
    warnings = checks.check(spec)
    spec = checks.completed(spec)
    with database.write() as session:
        row = searches.create(session, spec, idempotency_key=idempotency_key, owner=caller.name)
        resource = views.search(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/searches/{resource.id}", validate_only, warnings)


@router.get("", response_model=schemas.Page[schemas.Search])
def list_searches(
    database: DatabaseDep,
    status: Annotated[SearchStatus | None, Query(description=STATUS_HELP)] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> object:
    """List searches, newest first."""
    with database.read() as session:
        return searches.page(session, status=status, page_size=page_size, page_token=page_token)


@router.get("/{search}")
def get_search(search: SearchReference, database: DatabaseDep) -> schemas.SearchDetails:
    """Return a search by id or name, with its budget and the state of its trials."""
    with database.read() as session:
        return views.search(session, searches.get(session, search))


add_calls(router, "search", searches.get, views.search, schemas.SearchDetails)
add_deletion(router, "search", "searches", searches.get)


@router.post("/{search}/extend", status_code=status.HTTP_202_ACCEPTED)
def extend_search(
    search: SearchReference, extension: schemas.Extension, database: DatabaseDep, caller: CallerDep
) -> schemas.SearchDetails:
    """Give the search more budget. A search that has ended is queued again and continues from its
    trials; one that failed or was cancelled does so even without more budget."""
    with database.write() as session:
        row = searches.get(session, search)
        check_owner(caller, row)
        ask_to_extend(session, row.id, extension.model_dump(exclude_unset=True))
        return views.search(session, row)


@router.get("/{search}/trials")
def list_trials(
    found: Found,
    database: DatabaseDep,
    status: Annotated[TrialStatus | None, Query(description=STATUS_HELP)] = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> schemas.Page[schemas.Trial]:
    """List the trials of the search in the order they were proposed: base, search trials,
    controls."""
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
    """Return the lineage tree: the parent of each trial, its edit, and what the edit gained."""
    with database.read() as session:
        return views.lineage(session, _family(session, found, descendants))


@router.get("/{search}/pareto")
def get_pareto(
    found: Found,
    database: DatabaseDep,
    x: XAxisQuery | None = None,
    y: YAxisQuery = "ap",
    descendants: Descendants = True,
) -> schemas.Pareto:
    """Return the Pareto front over all trained detectors at all resolutions, base and controls
    included."""
    with database.read() as session:
        axis = x or views.default_axis(found)
        return views.pareto(session, _family(session, found, descendants), axis, y)


@router.get("/{search}/report")
def get_report(found: Found, database: DatabaseDep) -> Report:
    """Return what the search gained against its base and controls, in plain words and with 95 %
    intervals: on the test split if the data set has one."""
    with database.read() as session:
        return reports.report(session, found)


@router.get("/{search}/events", response_class=EventSourceResponse)
async def stream_search_events(
    found: Found, database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the search and its trials as server-sent events until it has ended."""
    async for event in events.stream(database, found.id, last_event_id):
        yield event


def _family(session: Session, search: SearchRow, descendants: bool) -> list[RunRow]:
    return [search, *(distillations.descended(session, search.id) if descendants else ())]
