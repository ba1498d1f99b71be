"""The endpoints of data sets."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response, status
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Discriminator, Tag, TypeAdapter

from api import data_roots, schemas
from api.auth import CallerDep, check_owner
from api.dependencies import (
    STATUS_HELP,
    VALIDATED,
    ChecksDep,
    DatabaseDep,
    DatasetReference,
    IdempotencyKey,
    LastEventId,
    ListingDep,
    RulesDep,
    ValidateOnly,
    created,
)
from api.events import FeedsDep
from api.routes.archiving import add_archiving
from searchd import artifacts
from searchd.domain.errors import ConflictError, DataError, InvalidValueError, NotFoundError
from searchd.domain.lifecycle import DatasetStatus
from searchd.spec import DatasetImport, DatasetSpec
from searchd.store import paging
from searchd.store.models import DatasetRow
from searchd.store.resources import datasets

router = APIRouter(prefix="/datasets", tags=["datasets"])
MAX_SAMPLE = 999
"""Largest number of a sample that a request may name."""


def _find(database: DatabaseDep, dataset: DatasetReference) -> DatasetRow:
    with database.read() as session:
        return datasets.get(session, dataset)


def _samples(row: DatasetRow) -> list[dict[str, Any]]:
    """Return the samples that the last check recorded.

    Raises:
        ConflictError: No check has passed, or only one before samples were recorded.
    """
    if row.samples is None:
        raise _not_checked(row)
    samples: list[dict[str, Any]] = row.samples["samples"]
    return samples


def _not_checked(row: DatasetRow) -> ConflictError:
    return ConflictError(
        f"{row.name} is {row.status} and has no such result of a check yet: {row.status_reason}; "
        "if it is ready, check it again: searchd dataset recheck NAME"
    )


def _form(body: Any) -> str:
    """Return which of the two forms of a request a body has."""
    return "paths" if isinstance(body, dict) and {"paths", "uri"} & body.keys() else "splits"


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

    Give `train` and `validation` for COCO files, or `paths` or `uri` for a data set in any format.
    Its check then makes the splits that are missing and stores annotation files in COCO's format.
    """
    if isinstance(spec, DatasetImport):
        spec = spec.stored_below(request.app.state.artifacts, rules.cache_folder)
    elif spec.source is not None or spec.shared is not None:
        raise InvalidValueError(
            "source and shared cannot be given; give paths or uri instead of the splits"
        )
    if any(split.sha256 or split.left_out or split.files for split in spec.splits.values()):
        raise InvalidValueError(
            "sha256, left_out and files cannot be given; the check records them"
        )
    data_roots.check_dataset(spec, rules.data_roots, rules.data_stores)
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
    listing: ListingDep,
    status: Annotated[tuple[DatasetStatus, ...], Query(description=STATUS_HELP)] = (),
) -> object:
    """List data sets, by default newest first."""
    with database.read() as session:
        return paging.page(session, DatasetRow, listing, status)


@router.get("/{dataset}", response_model=schemas.Dataset)
def get_dataset(found: Found) -> object:
    """Return a data set by id or name."""
    return found


@router.patch("/{dataset}", response_model=schemas.Dataset)
def rename_dataset(
    dataset: DatasetReference,
    change: schemas.DatasetChange,
    database: DatabaseDep,
    caller: CallerDep,
) -> object:
    """Rename the data set. Everything that uses it then refers to the new name."""
    with database.write() as session:
        check_owner(caller, datasets.get(session, dataset))
        return datasets.rename(session, dataset, change.name)


@router.post(
    "/{dataset}/recheck", response_model=schemas.Dataset, status_code=status.HTTP_202_ACCEPTED
)
def recheck_dataset(dataset: DatasetReference, database: DatabaseDep, caller: CallerDep) -> object:
    """Check the files of the data set again, for example after they have changed.

    It is refused while running work uses the data set. Repeating the request changes nothing until
    the check has ended.
    """
    with database.write() as session:
        check_owner(caller, datasets.get(session, dataset))
        return datasets.recheck(session, dataset)


@router.delete(
    "/{dataset}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    responses={204: {"description": "The data set was deleted."}},
)
def delete_dataset(dataset: DatasetReference, database: DatabaseDep, caller: CallerDep) -> Response:
    """Delete the data set, and the annotation files that its check wrote in the artifact store.

    Images and your own annotation files are not touched. It is refused while a pool, teacher,
    search or distillation uses the data set.
    """
    with database.write() as session:
        check_owner(caller, datasets.get(session, dataset))
        folder = datasets.delete(session, dataset)
    if folder is not None:
        artifacts.delete(folder)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


add_archiving(router, "data set", datasets.get)


@router.get("/{dataset}/statistics", response_model=schemas.DatasetStatistics)
def get_dataset_statistics(found: Found) -> object:
    """Return the objects by class and split, sizes of boxes and images, and duplicates."""
    statistics = (found.summary or {}).get("statistics")
    if statistics is None:
        raise _not_checked(found)
    return statistics


@router.get("/{dataset}/samples")
def list_dataset_samples(found: Found) -> schemas.DatasetSamples:
    """Return some images of each split with their objects, as the check read them."""
    return schemas.DatasetSamples.model_validate(
        {"samples": [{"number": i, **each} for i, each in enumerate(_samples(found))]}
    )


@router.get(
    "/{dataset}/samples/{number}/image",
    response_class=Response,
    responses={
        200: {
            "description": "The image, with its boxes and class names drawn if wanted.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def draw_dataset_sample(
    found: Found,
    number: Annotated[
        int, Path(ge=0, le=MAX_SAMPLE, description="Number of the sample in the list of samples.")
    ],
    rules: RulesDep,
    max_side: Annotated[
        int,
        Query(ge=64, le=2048, description="Largest width and height of the drawing, in pixels."),
    ] = 800,
    boxes: Annotated[bool, Query(description="Whether its boxes are drawn.")] = True,
) -> Response:
    """Return a sample image with its boxes drawn, as JPEG. The service must be able to read it."""
    from detection.data.samples import Sample, draw_sample  # takes long and is rarely needed
    from detection.data.shared_files import fetch

    samples = _samples(found)
    if number >= len(samples):
        raise NotFoundError(f"{found.name} has samples 0 to {len(samples) - 1}, not {number}")
    sample = TypeAdapter(Sample).validate_python(samples[number])
    files = found.spec.as_checked(found.summary).splits[sample.split].files
    is_copied = found.spec.shared is not None and found.spec.shared.images is not None
    if not is_copied:
        data_roots.check_image(sample.path, rules.data_roots)
    try:
        if is_copied and files is not None:
            fetch(files, only=sample.path)
        drawn = draw_sample(sample, max_side_px=max_side, boxes=boxes)
    except (DataError, OSError) as error:
        raise ConflictError(f"the sample cannot be drawn: {error}") from error
    return Response(drawn, media_type="image/jpeg", headers={"Cache-Control": "private"})


@router.get("/{dataset}/events", response_class=EventSourceResponse)
async def stream_dataset_events(
    found: Found, feeds: FeedsDep, last_event_id: LastEventId = 0
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of the data set as server-sent events until its check has ended."""
    async for event in feeds.stream(found.id, last_event_id):
        yield event
