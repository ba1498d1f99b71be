"""The endpoints of elastic teacher pools."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response, status
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api import data_roots, downloads, new_pools, schemas
from api.auth import CallerDep
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    IdempotencyKey,
    LastEventId,
    ListingDep,
    PoolReference,
    RulesDep,
    ValidateOnly,
    created,
)
from api.events import FeedsDep
from api.routes.archiving import add_archiving
from api.routes.lifecycle import add_calls, add_deletion
from api.views import resources as views
from searchd.domain.errors import ConflictError
from searchd.domain.lifecycle import PoolStatus
from searchd.spec import PoolSpec
from searchd.store import paging
from searchd.store.models import PoolRow
from searchd.store.resources import pools

router = APIRouter(prefix="/pools", tags=["pools"])


def _find(database: DatabaseDep, pool: PoolReference) -> PoolRow:
    with database.read() as session:
        return pools.get(session, pool)


Found = Annotated[PoolRow, Depends(_find)]


@router.post(
    "",
    response_model=schemas.PoolDetails,
    status_code=status.HTTP_201_CREATED,
    responses=VALIDATED,
)
def create_pool(
    spec: PoolSpec,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Create a pool. It is trained in the background, or imported if it has a `source`."""
    data_roots.check_pool(spec, rules.data_roots)
    warnings = checks.check(spec)
    spec = checks.completed(spec)
    with database.write() as session:
        row = new_pools.create_pool(
            session, spec, checks, idempotency_key=idempotency_key, owner=caller.name
        )
        resource = views.pool(session, row)
        if validate_only:
            session.rollback()
    return created(resource, f"/pools/{resource.id}", validate_only, warnings)


@router.get("", response_model=schemas.Page[schemas.Pool])
def list_pools(
    database: DatabaseDep,
    listing: ListingDep,
    status: Annotated[tuple[PoolStatus, ...], Query(description=STATUS_HELP)] = (),
) -> object:
    """List pools, by default newest first."""
    with database.read() as session:
        return paging.page(session, PoolRow, listing, status)


@router.get("/{pool}")
def get_pool(pool: PoolReference, database: DatabaseDep) -> schemas.PoolDetails:
    """Return a pool by id or name, with the results of its training."""
    with database.read() as session:
        return views.pool(session, pools.get(session, pool))


@router.get("/{pool}/supernet", response_class=StreamingResponse, responses=downloads.RESPONSES)
def download_supernet(found: Found, database: DatabaseDep) -> StreamingResponse:
    """Download the weights of the trained supernet as safetensors.

    The headers `Repr-Digest` (RFC 9530) and `ETag` have its SHA-256.
    """
    with database.read() as session:
        stored = pools.supernet(session, found.id)
    if stored is None:
        raise ConflictError(f"pool {found.name} is {found.status}, and has no weights yet")
    stored.check_there()
    return downloads.stream(stored.artifact, found.name)


add_calls(router, "pool", pools.get, views.pool, schemas.PoolDetails)
add_deletion(router, "pool", "pools", pools.get)
add_archiving(router, "pool", pools.get)


@router.get("/{pool}/events", response_class=EventSourceResponse)
async def stream_pool_events(
    found: Found, feeds: FeedsDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the pool as server-sent events until its training has ended."""
    async for event in feeds.stream(found.id, last_event_id):
        yield event
