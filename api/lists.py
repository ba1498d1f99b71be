"""Lists whose items have only the fields that a client asks for."""

from copy import copy
from functools import lru_cache
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import create_model

from api.dependencies import MAX_EVENT
from api.schemas import Page, Schema
from searchd.domain.errors import InvalidValueError

Fields = Annotated[
    str | None,
    Query(
        pattern="^[a-z0-9_]+(,[a-z0-9_]+)*$",
        max_length=1000,
        description="Names of the fields that each item has, separated by commas. All by default.",
    ),
]
SinceEvent = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAX_EVENT,
        description="Number of an event: only trials that a later event of the run is about, which "
        "are new or have another status. All by default.",
    ),
]


def narrowed(schema: type[Schema], fields: str | None) -> type[Schema]:
    """Return a schema with only these fields; the schema itself if none are given.

    Raises:
        InvalidValueError: The schema has no such field.
    """
    return schema if fields is None else _narrowed(schema, tuple(dict.fromkeys(fields.split(","))))


def answer(page: Any, schema: type[Schema]) -> Response:
    """Return the response with a page whose items have the fields of the schema."""
    shown = Page[schema].model_validate(page, from_attributes=True)  # type: ignore[valid-type]
    return Response(shown.model_dump_json(), media_type="application/json")


@lru_cache(maxsize=128)  # making a schema takes longer than to answer
def _narrowed(schema: type[Schema], names: tuple[str, ...]) -> type[Schema]:
    unknown = [name for name in names if name not in schema.model_fields]
    if unknown:
        raise InvalidValueError(
            f"fields: {schema.__name__} has no {', '.join(unknown)}; "
            f"it has {', '.join(schema.model_fields)}"
        )
    fields = {name: copy(schema.model_fields[name]) for name in names}
    chosen: dict[str, Any] = {name: (field.annotation, field) for name, field in fields.items()}
    return create_model(schema.__name__, __base__=Schema, **chosen)
