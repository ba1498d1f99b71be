"""What endpoints share: the database, parameters, and the answer to a POST."""

from typing import Annotated

from fastapi import Depends, Header, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.schemas import PREFIX
from searchd.store import Database
from searchd.store.models.resources import KEY_LENGTH
from searchd.store.paging import MAX_PAGE_SIZE


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseDep = Annotated[Database, Depends(_database)]
PageSize = Annotated[int, Query(ge=1, le=MAX_PAGE_SIZE, description="At most so many items")]
PageToken = Annotated[str | None, Query(description="next_page_token of the page before")]
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
    int, Header(ge=0, description="Only events after this one, as EventSource asks for")
]


def created(resource: BaseModel, path: str, validate_only: bool) -> Response:
    """201 with the resource and its address, or 204 when nothing was to be created."""
    if validate_only:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    location = {"Location": PREFIX + path}
    return JSONResponse(resource.model_dump(mode="json"), status.HTTP_201_CREATED, location)
