"""The fields of a spec, found by walking its annotations along the location of an error."""

import dataclasses
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, Tag

from searchd.domain.suggestions import suggestion

Location = tuple[int | str, ...]
_MAX_DEPTH = 6
"""Number of levels below which fields are not searched for suggestions."""
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True, slots=True)
class Place:
    """The place in a spec that an error is about."""

    location: Location
    """Names of fields and indices of items, without the labels that pydantic adds for the members
    of a union."""
    schemas: list[Any]
    """The types that the value may have there; empty if the spec has no such place."""
    union: Location | None = None
    """Location of the innermost union without a discriminator that the error is within."""
    label: str = ""
    """Label of the member of that union."""

    @property
    def fields(self) -> list[str]:
        """Names of the fields that the value may have."""
        return [name for schema in self.schemas for name in fields_of(schema)]

    @property
    def kinds(self) -> list[str]:
        """Names among which the field `kind` chooses the type of the value."""
        return [label for schema in self.schemas for label in _labels(schema)]


def find(schema: Any, location: Location) -> Place:
    """Return the place of an error's location.

    Args:
        schema: Type of the spec.
        location: Location of the error as pydantic reports it.
    """
    place = Place((), _members(schema))
    for part in location:
        place = _step(place, part)
    return place


def location_of(path: str) -> Location:
    """Return the location that a path such as "methods[0].name" describes."""
    parts = [part for part in re.split(r"[.\[\]]+", path) if part]
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def elsewhere(schema: Any, name: str) -> list[str]:
    """Return where else a spec has the field that `name` probably means, as dotted paths; the
    shortest paths come first."""
    paths = list(_paths(schema, (), _MAX_DEPTH))
    meant = suggestion(name, {path[-1] for path in paths})
    exact = name if any(path[-1] == name for path in paths) else meant
    found = [path for path in paths if path[-1] == exact]
    return list(dict.fromkeys(".".join(path) for path in sorted(found, key=len)))


def fields_of(schema: Any) -> dict[str, Any]:
    """Return the fields of a model or dataclass by name, with their types; empty for others."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return {name: field.annotation for name, field in schema.model_fields.items()}
    if isinstance(schema, type) and dataclasses.is_dataclass(schema):
        hints = get_type_hints(schema)
        return {field.name: hints[field.name] for field in dataclasses.fields(schema)}
    return {}


def _step(place: Place, part: int | str) -> Place:
    members = place.schemas
    labelled = [member for member in members if part in _labels(member)]
    if len(members) > 1 and labelled:
        return dataclasses.replace(place, schemas=_untagged(labelled))
    below = [each for member in members for each in _below(member, part)]
    if not below and len(members) > 1 and isinstance(part, str):
        kept = [each for each in members if _is_labelled(each, part)] or members
        return Place(place.location, kept, union=place.location, label=part)
    return dataclasses.replace(place, location=(*place.location, part), schemas=below)


def _below(schema: Any, part: int | str) -> list[Any]:
    origin, arguments = get_origin(schema), get_args(schema)
    if isinstance(part, int):
        is_list = origin in (tuple, list) and arguments
        return _members(arguments[0]) if is_list else []
    if origin is dict:
        return _members(arguments[1])
    found = fields_of(schema)
    return _members(found[part]) if part in found else []


def _members(schema: Any) -> list[Any]:
    """Return the members of a union, without None; a tagged member keeps its tag."""
    if get_origin(schema) is Annotated and not _tags(schema):
        return _members(get_args(schema)[0])
    if get_origin(schema) in _UNIONS:
        return [member for each in get_args(schema) for member in _members(each)]
    if _tags(schema):
        return [schema]
    return [] if schema is types.NoneType else [schema]


def _tags(schema: Any) -> list[str]:
    if get_origin(schema) is not Annotated:
        return []
    return [each.tag for each in get_args(schema)[1:] if isinstance(each, Tag)]


def _labels(schema: Any) -> list[str]:
    """Return the labels by which a discriminator chooses the type."""
    kind = fields_of(schema).get("kind")
    return [*_tags(schema), *(get_args(kind) if get_origin(kind) is Literal else ())]


def _is_labelled(schema: Any, label: str) -> bool:
    name = getattr(get_origin(schema) or schema, "__name__", "")
    return bool(name) and label.startswith(name)


def _paths(schema: Any, at: tuple[str, ...], depth: int) -> Iterator[tuple[str, ...]]:
    for member in _untagged(_members(schema)):
        for name, annotation in fields_of(member).items():
            yield (*at, name)
            if depth:
                yield from _paths(annotation, (*at, name), depth - 1)


def _untagged(members: Sequence[Any]) -> list[Any]:
    return [get_args(each)[0] if _tags(each) else each for each in members]
