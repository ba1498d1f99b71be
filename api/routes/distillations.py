"""The endpoints of distillations, of their stages and of their Pareto fronts."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import data_roots, schemas
from api.answers import AnswersDep
from api.auth import CallerDep, check_owner
from api.dependencies import (
    NUM_DOMINATED,
    STATUS_HELP,
    VALIDATED,
    AnyPageSize,
    ChecksDep,
    DatabaseDep,
    Depth,
    DistillationReference,
    IdempotencyKey,
    LastEventId,
    ListingDep,
    NumDominated,
    PageSize,
    PageToken,
    Root,
    RulesDep,
    ValidateOnly,
    XAxisQuery,
    YAxisQuery,
    created,
)
from api.events import FeedsDep
from api.lists import Fields, SinceEvent, answer, narrowed
from api.routes.archiving import add_archiving
from api.routes.lifecycle import add_calls, add_deletion
from api.schemas import distillations as distillation_schemas
from api.views import distillations as distillation_views
from api.views import fronts, lineage
from api.views import resources as views
from searchd.domain.lifecycle import SearchStatus, TrialStatus
from searchd.spec import DistillationSpec
from searchd.store import paging
from searchd.store.models import DistillationRow
from searchd.store.resources import distillations
from searchd.store.runs.extension import ask_to_extend
from searchd.store.runs.fronts import default_accuracy, default_axis

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
    listing: ListingDep,
    status: Annotated[tuple[SearchStatus, ...], Query(description=STATUS_HELP)] = (),
    fields: Fields = None,
) -> Response:
    """List distillations, by default newest first."""
    schema = narrowed(distillation_schemas.Distillation, fields)
    with database.read() as session:
        page = paging.page(
            session, DistillationRow, listing, status, parts=list(schema.model_fields)
        )
        return answer(page, schema)


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
add_archiving(router, "distillation", distillations.get)


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


@router.get("/{distillation}/trials", response_model=schemas.Page[schemas.Trial])
def list_distillation_trials(
    distillation: DistillationReference,
    database: DatabaseDep,
    status: Annotated[tuple[TrialStatus, ...], Query(description=STATUS_HELP)] = (),
    fields: Fields = None,
    since: SinceEvent = None,
    page_size: PageSize = 100,
    page_token: PageToken = None,
) -> Response:
    """List the trials of the distillation in the order they were proposed: the given student, which
    is the trial named base, and the stages."""
    schema = narrowed(schemas.Trial, fields)
    with database.read() as session:
        page = views.listed_trials(
            session,
            distillations.key(session, distillation).id,
            schema,
            status=status,
            since=since,
            page_size=page_size,
            page_token=page_token,
        )
        return answer(page, schema)


@router.get("/{distillation}/lineage")
def get_distillation_lineage(
    found: Found,
    database: DatabaseDep,
    root: Root = None,
    depth: Depth = None,
    page_size: AnyPageSize = None,
    page_token: PageToken = None,
) -> schemas.Lineage:
    """Return the lineage tree: the parent of each stage, and what the stage gained. If the student
    comes from another run, the parent of the base is the trial of that run."""
    with database.read() as session:
        return lineage.lineage(
            session, [found], root=root, depth=depth, page_size=page_size, page_token=page_token
        )


@router.get("/{distillation}/pareto", response_model=schemas.Pareto)
def get_distillation_pareto(
    distillation: DistillationReference,
    database: DatabaseDep,
    answers: AnswersDep,
    x: XAxisQuery = None,
    y: YAxisQuery = None,
    dominated: NumDominated = NUM_DOMINATED,
) -> Response:
    """Return the Pareto front over the student after every stage at every resolution, with a sample
    of the points that it dominates."""
    with database.read() as session:
        runs = [distillations.key(session, distillation)]
        axis = x or default_axis(session, runs[0].id)
        accuracy = y or default_accuracy(session, runs[0].id)
        return answers.of(
            ("pareto", axis, accuracy, dominated, *runs),
            lambda: fronts.pareto(session, runs, axis, accuracy, num_dominated=dominated),
        )


@router.get("/{distillation}/events", response_class=EventSourceResponse)
async def stream_distillation_events(
    found: Found, feeds: FeedsDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the distillation and its trials as server-sent events until it has
    ended."""
    async for event in feeds.stream(found.id, last_event_id):
        yield event
