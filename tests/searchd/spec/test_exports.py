"""The spec of an export."""

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS, ExportFormat, Precision, check_export
from searchd.domain.resolution import Resolution
from searchd.spec import ExportSpec


def test_an_export_takes_any_size_unless_one_is_given() -> None:
    assert ExportSpec().size is None
    assert ExportSpec.model_validate({"input": "640x480"}).size == Resolution(640, 480)
    assert ExportSpec.model_validate({"input": "640x480"}).kind == "onnx-fp32-640x480"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"input": "640"}, "640"),
        ({"input": "16x640"}, "input=16x640 is too small; both sides must have 32 pixels or more"),
        ({"format": "tflite"}, "format"),
        ({"precision": "int3"}, "precision"),
    ],
)
def test_an_illegal_value_is_named(fields: dict[str, str], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ExportSpec.model_validate(fields)


def test_every_format_has_its_traits() -> None:
    assert FORMATS.keys() == set(ExportFormat)


def test_a_spec_survives_json() -> None:
    for spec in (ExportSpec(), ExportSpec(input=Resolution(640, 480), cpus=2)):
        assert ExportSpec.model_validate_json(spec.model_dump_json()) == spec


def test_what_a_format_cannot_do_is_refused() -> None:
    check_export(ExportFormat.ONNX, Precision.FP32, dynamic=True)
    with pytest.raises(InvalidValueError, match="precision=int8 is not available .* use fp32"):
        check_export(ExportFormat.ONNX, "int8", dynamic=True)  # type: ignore[arg-type] # a new one
