"""What endpoints share: the database, parameters, and the response to a POST."""

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request, status
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, AwareDatetime, BaseModel

from api.auth import Rules
from api.schemas import PREFIX, Validation, XAxis, YAxis
from api.submission import SubmissionChecks
from searchd.domain.errors import InvalidValueError
from searchd.store import Database, paging
from searchd.store.base import ID_LENGTH
from searchd.store.models.resources import KEY_LENGTH, NAME_LENGTH

MAX_EVENT = 2**31 - 1
MAX_DOMINATED, NUM_DOMINATED = 10_000, 1000
"""The largest number of dominated points with a front, and the number by default."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _rules(request: Request) -> Rules:
    rules: Rules = request.app.state.rules
    return rules


async def check_json(request: Request) -> None:
    """Check that the body can be stored and returned: JSON can express numbers and characters that
    no database, disk or response can hold.

    Raises:
        InvalidValueError: The body has such a number or character.
    """
    try:
        values = [await request.json()]
    except (ValueError, RecursionError):  # no JSON; where it is required, FastAPI refuses the call
        return
    while values:
        match values.pop():
            case dict() as members:
                values += [*members.keys(), *members.values()]
            case list() as items:
                values += items
            case str() as text if _UNSTORABLE.search(text):
                raise InvalidValueError(f"{text!r} holds a null character or a lone surrogate")
            case float() as number if not math.isfinite(number):
                raise InvalidValueError(f"{number} is not a finite number")


def _checks(request: Request) -> SubmissionChecks:
    checks: SubmissionChecks = request.app.state.checks
    return checks


DatabaseDep = Annotated[Database, Depends(_database)]
RulesDep = Annotated[Rules, Depends(_rules)]
ChecksDep = Annotated[SubmissionChecks, Depends(_checks)]
_REFERENCE = r"^[A-Za-z0-9_-]+$"


def _reference(description: str) -> Any:
    """A path parameter that names a resource or a file."""
    return Path(pattern=_REFERENCE, max_length=ID_LENGTH, description=description)


Reference = Annotated[str, _reference("Name or id of the resource that the call is about.")]
DatasetReference = Annotated[str, _reference("Name or id of the data set.")]
PoolReference = Annotated[str, _reference("Name or id of the pool.")]
TeacherReference = Annotated[str, _reference("Name or id of the teacher.")]
DeviceReference = Annotated[str, _reference("Name or id of the device.")]
SearchReference = Annotated[str, _reference("Name or id of the search.")]
DistillationReference = Annotated[str, _reference("Name or id of the distillation.")]
WebhookReference = Annotated[str, _reference("Id of the webhook, for example w-7f3k2m9x.")]
TrialName = Annotated[str, _reference("Name of the trial within its run, for example base or 12.")]
TrialId = Annotated[str, _reference("Id of the trial, for example s-7f3k2m-12.")]
ArtifactName = Annotated[
    str, _reference("Name of the file within the trial, for example student or adapters.")
]
ExportReference = Annotated[
    str, _reference("Id of the export, or its name, for example s-7f3k2m-12-onnx-fp32-dynamic.")
]
VALIDATED: dict[int | str, dict[str, Any]] = {
    200: {
        "model": Validation,
        "description": "With validate_only: the request is valid, and nothing was created.",
    }
}
PageSize = Annotated[
    int,
    Query(ge=1, le=paging.MAX_PAGE_SIZE, description="Largest number of items in the response."),
]
PageToken = Annotated[
    str | None,
    Query(
        pattern=_REFERENCE,
        max_length=ID_LENGTH,
        description="The next_page_token of the previous page. The first page without it.",
    ),
]
ValidateOnly = Annotated[
    bool,
    Query(description="Check the request without creating anything; 200 if it is valid."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=KEY_LENGTH,
        description="Any text. A request that is repeated with the same key creates nothing new.",
    ),
]
LastEventId = Annotated[
    int,
    Header(
        ge=0,
        le=MAX_EVENT,
        description="Number of the last event already received; the stream starts after it.",
    ),
]
STATUS_HELP = "Status of the items to list; repeat it for several. All statuses by default."


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is not a time in UTC") from error


def _listing(
    name: Annotated[
        str | None,
        Query(max_length=NAME_LENGTH, description="Part of the names of the items to list."),
    ] = None,
    since: Annotated[
        AwareDatetime | None,
        AfterValidator(lambda value: value and _in_utc(value)),
        Query(
            description="Only items that were created or have ended at this time or later, with a "
            "time zone (ISO 8601)."
        ),
    ] = None,
    archived: Annotated[
        bool, Query(description="Whether the archived items are listed, instead of all others.")
    ] = False,
    sort: Annotated[
        paging.Sort,
        Query(description="Field by which the list is sorted; with a minus, in descending order."),
    ] = "-created_at",
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> paging.Listing:
    return paging.Listing(
        name=name,
        since=since,
        archived=archived,
        sort=sort,
        page_size=page_size,
        page_token=page_token,
    )


ListingDep = Annotated[paging.Listing, Depends(_listing)]
"""The parameters of a list of resources, but for the status, of which each resource has its own."""
XAxisQuery = Annotated[
    XAxis | None,
    Query(
        description="Cost of the Pareto front: macs (multiply-accumulates), params (parameters), "
        "latency_s (seconds, as measured beside the trials), or cost, which is what the search "
        "counts. By default macs, or cost if the search counts another."
    ),
]
NumDominated = Annotated[
    int,
    Query(
        ge=0,
        le=MAX_DOMINATED,
        description="Largest number of dominated points in the response, spread evenly over the "
        "trials. All of them, by pages: see pareto/dominated.",
    ),
]
Every = Annotated[
    int,
    Query(
        ge=1,
        le=MAX_EVENT,
        description="Step between the trials that are listed: 10 lists every tenth one, 1 all.",
    ),
]
Root = Annotated[
    str | None,
    Query(
        pattern=_REFERENCE,
        max_length=ID_LENGTH,
        description="Id of a trial: only it and the trials that descend from it. All by default.",
    ),
]
Depth = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_EVENT,
        description="Largest number of steps below the root. No limit by default.",
    ),
]
AnyPageSize = Annotated[
    int | None,
    Query(
        ge=1,
        le=paging.MAX_PAGE_SIZE,
        description="Largest number of items in the response. All by default.",
    ),
]
YAxisQuery = Annotated[
    YAxis | None,
    Query(
        description="Accuracy of the Pareto front: ap, ap50 or ap75 of boxes, mask_ap or "
        "mask_ap50. Default: what the run ranks by."
    ),
]


def created(
    resource: BaseModel, path: str, validate_only: bool, warnings: list[str]
) -> JSONResponse:
    """Return 201 with the resource and its address, or with `validate_only` 200 and the
    warnings."""
    if validate_only:
        return JSONResponse(Validation(warnings=warnings).model_dump())
    location = {"Location": PREFIX + path}
    return JSONResponse(resource.model_dump(mode="json"), status.HTTP_201_CREATED, location)
