"""The OpenAPI document: every parameter and every field has a description that says what it is."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

import api.schemas.distillations
import api.schemas.forecasts  # noqa: F401  # both define responses
from api.app import create_app
from api.schemas import Schema
from searchd.spec.described import descriptions
from searchd.store import Database
from tests.descriptions import fault

Document = dict[str, Any]

pytestmark = pytest.mark.timeout(60)  # the whole document is built


@pytest.fixture(scope="module")
def document() -> Document:
    return create_app(Database("sqlite://")).openapi()


def test_every_operation_has_a_description(document: Document) -> None:
    faults = {where: fault(each.get("description")) for where, each in _operations(document)}

    assert len(faults) > 40
    assert _wrong(faults) == {}


def test_every_parameter_has_a_description(document: Document) -> None:
    faults = {
        f"{where} {each['name']}": fault(each.get("description"))
        for where, operation in _operations(document)
        for each in operation.get("parameters", [])
    }

    assert len(faults) > 70
    assert _wrong(faults) == {}


def test_every_field_of_a_request_body_has_a_description(document: Document) -> None:
    schemas = document["components"]["schemas"]
    bodies = [operation.get("requestBody", {}) for _, operation in _operations(document)]
    faults = {
        f"{name}.{field}": fault(each.get("description"))
        for name in _reached(schemas, bodies)
        for field, each in schemas[name].get("properties", {}).items()
    }

    assert len(faults) > 150
    assert _wrong(faults) == {}


def test_every_field_of_a_response_has_a_description() -> None:
    faults = {
        f"{model.__name__}.{name}": fault(descriptions(model)[name])
        for model in _descendants(Schema)
        if model.__module__ != "api.lists"  # made of chosen fields while the service runs
        for name in model.model_fields
    }

    assert len(faults) > 150
    assert _wrong(faults) == {}


def test_every_response_has_a_description(document: Document) -> None:
    faults = {
        f"{where} {status}": fault(response["description"])
        for where, operation in _operations(document)
        for status, response in operation["responses"].items()
        if response["description"] != "Successful Response"  # FastAPI's own text
    }

    assert len(faults) > 100
    assert _wrong(faults) == {}


def test_a_resolution_is_documented_as_the_text_that_specs_use(document: Document) -> None:
    spec = document["components"]["schemas"]["ScoreSpec-Input"]["properties"]["base_resolution"]

    text, pair, size = spec["anyOf"]
    assert (text["type"], re.fullmatch(text["pattern"], "1333x800") is not None) == ("string", True)
    assert (pair["minItems"], pair["maxItems"]) == (2, 2)
    assert size == {"$ref": "#/components/schemas/Size"}


def _operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield f"{method} {path}", operation


def _reached(schemas: dict[str, Any], start: object) -> set[str]:
    """The names of all schemas that `start` refers to, directly or through others."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        match waiting.pop():
            case {"$ref": str(reference)} if (name := reference.rpartition("/")[2]) not in found:
                found.add(name)
                waiting.append(schemas[name])
            case dict() as members:
                waiting += members.values()
            case list() as items:
                waiting += items
    return found


def _descendants(model: type[Schema]) -> Iterator[type[Schema]]:
    for each in model.__subclasses__():
        yield each
        yield from _descendants(each)


def _wrong(faults: dict[str, str | None]) -> dict[str, str]:
    return {name: reason for name, reason in faults.items() if reason is not None}
