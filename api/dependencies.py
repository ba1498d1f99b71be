"""What endpoints share: the database, parameters, and the answer to a POST."""

import math
import re
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.auth import Rules
from api.schemas.resources import PREFIX
from searchd.domain.errors import InvalidValueError
from searchd.store import Database
from searchd.store.base import ID_LENGTH
from searchd.store.models.resources import KEY_LENGTH
from searchd.store.paging import MAX_PAGE_SIZE

MAX_EVENT = 2**31 - 1
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _rules(request: Request) -> Rules:
    rules: Rules = request.app.state.rules
    return rules


async def check_json(request: Request) -> None:
    """See that what was sent can be stored and sent back: JSON may spell numbers and characters
    that no database, disk or answer can hold.

    Raises:
        InvalidValueError: It cannot.
    """
    try:
        values = [await request.json()]
    except (ValueError, RecursionError):  # no JSON; where some is needed, FastAPI says so
        return
    while values:
        match values.pop():
            case dict() as members:
                values += [*members.keys(), *members.values()]
            case list() as items:
                values += items
            case str() as text if _UNSTORABLE.search(text):
                raise InvalidValueError(f"{text!r} holds a zero character or half a character")
            case float() as number if not math.isfinite(number):
                raise InvalidValueError(f"{number} is no finite number")


DatabaseDep = Annotated[Database, Depends(_database)]
RulesDep = Annotated[Rules, Depends(_rules)]
_REFERENCE = r"^[A-Za-z0-9_-]+$"
Reference = Annotated[
    str, Path(pattern=_REFERENCE, max_length=ID_LENGTH, description="An id or a name")
]
NO_CONTENT: dict[int | str, dict[str, Any]] = {204: {"description": "validate_only: all is well"}}
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="At most so many items")]
PageToken = Annotated[
    str | None,
    Query(
        pattern=_REFERENCE, max_length=ID_LENGTH, description="next_page_token of the page before"
    ),
]
ValidateOnly = Annotated[
    bool, Query(description="Check everything, create nothing, answer 204 if all is well")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=KEY_LENGTH,
        description="A request repeated with the same key creates nothing new",
    ),
]
LastEventId = Annotated[
    int,
    Header(ge=0, le=MAX_EVENT, description="Only events after this one, as EventSource asks for"),
]


def created(resource: BaseModel, path: str, validate_only: bool) -> Response:
    """201 with the resource and its address, or 204 when nothing was to be created."""
    if validate_only:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    location = {"Location": PREFIX + path}
    return JSONResponse(resource.model_dump(mode="json"), status.HTTP_201_CREATED, location)
