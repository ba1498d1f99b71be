"""The spec of an export."""

import pytest
from pydantic import ValidationError

from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import FORMATS, ExportFormat, Precision, check_export
from searchd.domain.resolution import Resolution
from searchd.spec import ExportSpec
from searchd.spec.needs import need_of


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
        ({"format": "mmdet", "input": "640x480"}, "format=mmdet takes images of any size"),
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
        check_export(ExportFormat.TORCHSCRIPT, Precision.INT8, dynamic=True)
    with pytest.raises(InvalidValueError, match="format=tensorrt has no dynamic input; give a"):
        check_export(ExportFormat.TENSORRT, Precision.FP32, dynamic=True)
    with pytest.raises(InvalidValueError, match="format=mmdet takes images of any size; give"):
        check_export(ExportFormat.MMDET, Precision.FP32, dynamic=False)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"max_ap_loss": 0.5},
            "max_ap_loss=0.5 has no effect with precision=fp32; .*=fp16 or int8",
        ),
        (
            {"precision": "fp16", "calibration_images": 64},
            "calibration_images=64 has no effect with precision=fp16; .* use precision=int8",
        ),
        ({"precision": "int8", "max_ap_loss": 0}, "max_ap_loss"),
        ({"precision": "int8", "calibration_images": 0}, "calibration_images"),
    ],
)
def test_an_option_without_effect_is_refused(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        ExportSpec.model_validate(fields)


def test_exports_with_other_options_have_other_names() -> None:
    assert ExportSpec(precision=Precision.INT8).kind == "onnx-int8-dynamic"
    assert ExportSpec(precision=Precision.FP16, max_ap_loss=0.25).kind == "onnx-fp16-dynamic-ap0.25"
    longest = ExportSpec(
        format=ExportFormat.OPENVINO,
        precision=Precision.INT8,
        input=Resolution(10000, 10000),
        max_ap_loss=0.1234,
        calibration_images=9999,
        calibration_seed=9999,
    )
    assert longest.kind == "openvino-int8-10000x10000-ap0.1234-n9999-s9999"


def test_an_engine_needs_a_gpu() -> None:
    tensorrt = ExportSpec(format=ExportFormat.TENSORRT, input=Resolution(640, 480))

    assert (need_of(tensorrt).gpus, need_of(ExportSpec()).gpus) == (1, 0)
