"""The published JSON Schema accepts the examples, and knows every field."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cli.spec_files import read_source
from tests.cli.conftest import Run

EXAMPLES = Path(__file__).parents[2] / "examples"


def schema(offline: Run, kind: str) -> dict[str, Any]:
    result = offline("schema", kind)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.mark.parametrize(
    ("kind", "example"),
    [
        ("search", "demo/search.yaml"),
        ("distillation", "progressive/distillation.yaml"),
        ("pool", "progressive/pool.yaml"),
    ],
)
def test_the_schema_accepts_the_examples_and_refuses_a_misspelt_field(
    offline: Run, kind: str, example: str
) -> None:
    validator = jsonschema.Draft202012Validator(schema(offline, kind))
    fields = read_source(EXAMPLES / example).fields

    assert list(validator.iter_errors(fields)) == []
    (error,) = validator.iter_errors({**fields, "sed": 1})
    assert "'sed' was unexpected" in error.message


@pytest.mark.parametrize("kind", ["search", "pool", "distillation", "dataset", "teacher"])
def test_every_field_of_a_schema_is_described(offline: Run, kind: str) -> None:
    fields = schema(offline, kind)["properties"]

    assert "name" in fields
    described = {name for name, field in fields.items() if field.get("description")}
    assert fields.keys() - described <= {"name"}
