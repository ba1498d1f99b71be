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
        ("teacher", "teachers/trained_r101.yaml"),
        ("classifier", "dicod/classifier.yaml"),
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


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("search", "name"),
        ("pool", "name"),
        ("distillation", "name"),
        ("dataset", "name"),
        ("teacher", "name"),
        ("device", "runtime"),
        ("fine-tune", "learning_rate"),
        ("distil", "num_sampled_teachers"),
        ("classifier", "train"),
    ],
)
def test_every_field_of_a_schema_is_described(offline: Run, kind: str, field: str) -> None:
    fields = schema(offline, kind)["properties"]

    assert field in fields
    described = {name for name, field in fields.items() if field.get("description")}
    assert fields.keys() - described <= {"name"}


def test_a_file_of_a_device_may_leave_its_name_to_the_command(offline: Run) -> None:
    validator = jsonschema.Draft202012Validator(schema(offline, "device"))

    assert list(validator.iter_errors({"threads": 2, "table": {"base_channels": [8]}})) == []
    (error,) = validator.iter_errors({"threads": 0})
    assert "0 is less than the minimum of 1" in error.message
