"""The endpoints of data sets."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Discriminator, Tag

from api import data_roots, events, schemas
from api.auth import CallerDep
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    DatasetReference,
    IdempotencyKey,
    LastEventId,
    PageSize,
    PageToken,
    RulesDep,
    ValidateOnly,
    created,
)
from searchd.domain.errors import InvalidValueError
from searchd.domain.lifecycle import DatasetStatus
from searchd.spec import DatasetImport, DatasetSpec
from searchd.store.models import DatasetRow
from searchd.store.resources import datasets

router = APIRouter(prefix="/datasets", tags=["datasets"])


def _find(database: DatabaseDep, dataset: DatasetReference) -> DatasetRow:
    with database.read() as session:
        return datasets.get(session, dataset)


def _form(body: Any) -> str:
    """Return which of the two forms of a request a body has."""
    return "paths" if isinstance(body, dict) and "paths" in body else "splits"


Requested = Annotated[
    Annotated[DatasetSpec, Tag("splits")] | Annotated[DatasetImport, Tag("paths")],
    Discriminator(_form),
    Body(),
]
Found = Annotated[DatasetRow, Depends(_find)]


@router.post(
    "", response_model=schemas.Dataset, status_code=status.HTTP_201_CREATED, responses=VALIDATED
)
def create_dataset(
    spec: Requested,
    request: Request,
    database: DatabaseDep,
    caller: CallerDep,
    rules: RulesDep,
    checks: ChecksDep,
    idempotency_key: IdempotencyKey = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Register a data set. Its files are checked in the background.

    Give `train` and `validation` for COCO files, or `paths` for a data set in any format. The check
    of `paths` makes the splits that are missing and stores annotation files in COCO's format.
    """
    if isinstance(spec, DatasetImport):
        spec = spec.stored_below(request.app.state.artifacts)
    elif spec.source is not None:
        raise InvalidValueError("source cannot be given; give paths instead of the splits")
    data_roots.check_dataset(spec, rules.data_roots)
    warnings = checks.check(spec)
    with database.write() as session:
        row = datasets.create(session, spec, idempotency_key=idempotency_key, owner=caller.name)
        resource = schemas.Dataset.model_validate(row)
        if validate_only:
            session.rollback()
    return created(resource, f"/datasets/{resource.id}", validate_only, warnings)


@router.get("", response_model=schemas.Page[schemas.Dataset])
def list_datasets(
    database: DatabaseDep,
    status: Annotated[DatasetStatus | None, Query(description=STATUS_HELP)] = None,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> object:
    """List data sets, newest first."""
    with database.read() as session:
        return datasets.page(session, status=status, page_size=page_size, page_token=page_token)


@router.get("/{dataset}", response_model=schemas.Dataset)
def get_dataset(found: Found) -> object:
    """Return a data set by id or name."""
    return found


@router.get("/{dataset}/events", response_class=EventSourceResponse)
async def stream_dataset_events(
    found: Found, database: DatabaseDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the data set as server-sent events until its check has ended."""
    async for event in events.stream(database, found.id, last_event_id):
        yield event
