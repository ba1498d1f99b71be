"""Exported OpenVINO files find in OpenVINO what the detectors find in torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openvino
import pytest

from detection.deployment import onnx_format, openvino_format
from detection.deployment.exported import Exported
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision
from searchd.domain.resolution import Resolution
from tests.detection.deployment import tiny
from tests.detection.deployment.round_trips import (
    COVERED,
    SIZES,
    calibration,
    check_equal,
    check_loaded,
    check_program,
    raw_error,
)

pytestmark = pytest.mark.timeout(180)  # torch's exporter takes many seconds

SIZE = Resolution(96, 64)
LOSSES = {Precision.FP16: 0.05, Precision.INT8: 0.5}
"""Largest relative error of the outputs of detectors that were not trained."""


@pytest.fixture(scope="module", autouse=True)
def _each_detector_is_traced_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_format, "traced", tiny.traced_once)
        yield


def written(family: Family, kind: tiny.Kind, folder: Path, **values: Any) -> Exported:
    images = [tiny.noise(96, 64, seed=seed) for seed in range(4)]
    request = tiny.request(**{"calibration": images, **values})
    return openvino_format.write(tiny.model(family, kind), folder, request)


@pytest.mark.parametrize("family", COVERED)
def test_round_trip_at_one_size(family: Family, tmp_path: Path) -> None:
    kind = COVERED[family]

    exported = written(family, kind, tmp_path, size=SIZE)

    check_equal(tiny.model(family, kind), exported, (96, 64))
    check_loaded(openvino_format, exported, tiny.noise(96, 64))
    check_program(exported, tmp_path)
    model = openvino.Core().read_model(exported.model)
    names = ["boxes", "scores", "labels", *(["masks"] if family.has_masks else [])]
    assert [each.any_name for each in model.outputs] == names
    assert (exported.model.name, exported.parts[0].name) == ("model.xml", "model.bin")


@pytest.mark.parametrize("precision", LOSSES)
def test_fewer_bits_compute_nearly_the_same(precision: Precision, tmp_path: Path) -> None:
    family = Family.FCOS
    kind = COVERED[family]

    exported = written(family, kind, tmp_path, size=SIZE, precision=precision)

    assert 0 < raw_error(tiny.model(family, kind), exported, tiny.noise(96, 64)) < LOSSES[precision]
    types = {
        each.get_element_type().get_type_name()
        for each in openvino.Core().read_model(exported.model).get_ordered_ops()
        if each.get_type_name() == "Constant"
    }
    assert {Precision.FP16: "f16", Precision.INT8: "i8"}[precision] in types


def test_parts_that_cost_too_much_stay_in_32_bits(tmp_path: Path) -> None:
    losses = iter([0.03, 0.005])
    family = Family.FCOS

    exported = written(
        family,
        COVERED[family],
        tmp_path,
        size=SIZE,
        precision=Precision.INT8,
        ap_loss=lambda _: next(losses),
    )

    assert exported.kept == ("heads",)


def test_a_file_that_is_no_export_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("nothing")

    with pytest.raises(InvalidValueError, match=r"model\.xml is no exported OpenVINO file"):
        openvino_format.load(tmp_path / "model.xml", num_threads=1)


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_round_trip_of_every_family_kind_and_precision(
    family: Family, kind: tiny.Kind, precision: Precision, tmp_path: Path
) -> None:
    model = tiny.model(family, kind)

    exported = written(family, kind, tmp_path, precision=precision, calibration=calibration())

    if precision is Precision.FP32:
        check_equal(model, exported, *SIZES)
        return
    for width, height in SIZES:
        assert 0 < raw_error(model, exported, tiny.noise(width, height)) < LOSSES[precision]
