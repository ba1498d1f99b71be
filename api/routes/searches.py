"""The endpoints of searches, of their trials and of their Pareto fronts."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import data_roots, schemas
from api.answers import AnswersDep
from api.auth import CallerDep, check_owner
from api.dependencies import (
    MAX_EVENT,
    NUM_DOMINATED,
    STATUS_HELP,
    VALIDATED,
    AnyPageSize,
    ChecksDep,
    DatabaseDep,
    Depth,
    Every,
    IdempotencyKey,
    LastEventId,
    ListingDep,
    NumDominated,
    PageSize,
    PageToken,
    Root,
    RulesDep,
    SearchReference,
    ValidateOnly,
    XAxisQuery,
    YAxisQuery,
    created,
)
from api.events import FeedsDep
from api.lists import Fields, SinceEvent, answer, narrowed
from api.routes.archiving import add_archiving
from api.routes.lifecycle import add_calls, add_deletion
from api.schemas.columns import SearchInColumns
from api.schemas.reports import Report
from api.views import columns, fronts, lineage, reports
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import SearchSpec
from searchd.spec.remarks import warmup_warnings
from searchd.store import paging
from searchd.store.models import SearchRow
from searchd.store.resources import distillations, searches
from searchd.store.runs.extension import ask_to_extend
from searchd.store.runs.forecasts import train_images
from searchd.store.runs.fronts import default_accuracy, default_axis

router = APIRouter(prefix="/searches", tags=["searches"])


def _find(database: DatabaseDep, search: SearchReference) -> SearchRow:
    with database.read() as session:
        return searches.get(session, search)


Found = Annotated[SearchRow, Depends(_find)]
Descendants = Annotated[
    bool,
    Query(description="Whether to include distillations that continue from this search's trials."),
]
SinceColumns = Annotated[
    int,
    Query(
        ge=0,
        le=MAX_EVENT,
        description="Number of an event, for example `event` of the previous response. 0: all.",
    ),
]
ClassName = Annotated[
    str | None,
    Query(max_length=200, description="Class whose AP is returned as `class_ap`; see `classes`."),
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
        warnings += warmup_warnings(spec, train_images(session, spec.dataset))
        if validate_only:
            session.rollback()
    return created(resource, f"/searches/{resource.id}", validate_only, warnings)


@router.get("", response_model=schemas.Page[schemas.Search])
def list_searches(
    database: DatabaseDep,
    listing: ListingDep,
    status: Annotated[tuple[SearchStatus, ...], Query(description=STATUS_HELP)] = (),
    fields: Fields = None,
) -> Response:
    """List searches, by default newest first."""
    schema = narrowed(schemas.Search, fields)
    with database.read() as session:
        page = paging.page(session, SearchRow, listing, status, parts=list(schema.model_fields))
        return answer(page, schema)


@router.get("/{search}")
def get_search(search: SearchReference, database: DatabaseDep) -> schemas.SearchDetails:
    """Return a search by id or name, with its budget and the state of its trials."""
    with database.read() as session:
        return views.search(session, searches.get(session, search))


add_calls(router, "search", searches.get, views.search, schemas.SearchDetails)
add_deletion(router, "search", "searches", searches.get)
add_archiving(router, "search", searches.get)


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


@router.get("/{search}/trials", response_model=schemas.Page[schemas.Trial])
def list_trials(
    search: SearchReference,
    database: DatabaseDep,
    status: Annotated[tuple[TrialStatus, ...], Query(description=STATUS_HELP)] = (),
    fields: Fields = None,
    since: SinceEvent = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> Response:
    """List the trials of the search in the order they were proposed: base, search trials,
    controls."""
    schema = narrowed(schemas.Trial, fields)
    with database.read() as session:
        page = views.listed_trials(
            session,
            searches.key(session, search).id,
            schema,
            status=status,
            since=since,
            page_size=page_size,
            page_token=page_token,
        )
        return answer(page, schema)


@router.get("/{search}/columns")
def get_columns(
    found: Found,
    database: DatabaseDep,
    since: SinceColumns = 0,
    class_name: ClassName = None,
) -> SearchInColumns:
    """Return all trials of the search in columns, for plots and large tables: one request for ten
    thousand trials. With `since`, only those with an event after it, and those that run."""
    with database.read() as session:
        return columns.in_columns(session, found, since, class_name)


@router.get("/{search}/lineage")
def get_lineage(
    found: Found,
    database: DatabaseDep,
    descendants: Descendants = True,
    root: Root = None,
    depth: Depth = None,
    page_size: AnyPageSize = None,
    page_token: PageToken = None,
) -> schemas.Lineage:
    """Return the lineage tree: the parent of each trial, its edit, and what the edit gained. A
    large tree is read by pages, or by subtrees."""
    with database.read() as session:
        runs = [found, *(distillations.descended(session, found.id) if descendants else ())]
        return lineage.lineage(
            session, runs, root=root, depth=depth, page_size=page_size, page_token=page_token
        )


@router.get("/{search}/pareto", response_model=schemas.Pareto)
def get_pareto(
    search: SearchReference,
    database: DatabaseDep,
    answers: AnswersDep,
    x: XAxisQuery = None,
    y: YAxisQuery = None,
    descendants: Descendants = True,
    dominated: NumDominated = NUM_DOMINATED,
) -> Response:
    """Return the Pareto front over all trained detectors at all resolutions, base and controls
    included, with a sample of the detectors that it dominates."""
    with database.read() as session:
        runs = [searches.key(session, search)]
        axis = x or default_axis(session, runs[0].id)
        accuracy = y or default_accuracy(session, runs[0].id)
        if descendants:
            runs += distillations.keys_of_descended(session, runs[0].id)
        return answers.of(
            ("pareto", axis, accuracy, dominated, *runs),
            lambda: fronts.pareto(session, runs, axis, accuracy, num_dominated=dominated),
        )


@router.get("/{search}/pareto/dominated", response_model=schemas.Page[schemas.Point])
def list_dominated(
    search: SearchReference,
    database: DatabaseDep,
    answers: AnswersDep,
    x: XAxisQuery = None,
    y: YAxisQuery = None,
    every: Every = 1,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> Response:
    """List the detectors of the search that its Pareto front dominates, in the order in which their
    trials ended. A page has those of at most `page_size` trials, at all resolutions."""
    with database.read() as session:
        run = searches.key(session, search)
        axis = x or default_axis(session, run.id)
        accuracy = y or default_accuracy(session, run.id)
        return answers.of(
            ("dominated", axis, accuracy, every, page_size, page_token, run),
            lambda: fronts.dominated(
                session,
                run,
                axis,
                accuracy,
                every=every,
                page_size=page_size,
                page_token=page_token,
            ),
        )


@router.get("/{search}/report")
def get_report(found: Found, database: DatabaseDep) -> Report:
    """Return what the search gained against its base and controls, in plain words and with 95 %
    intervals: on the test split if the data set has one."""
    with database.read() as session:
        return reports.report(session, found)


@router.get("/{search}/events", response_class=EventSourceResponse)
async def stream_search_events(
    found: Found, feeds: FeedsDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the search and its trials as server-sent events until it has ended."""
    async for event in feeds.stream(found.id, last_event_id):
        yield event
