"""Exported ONNX files find in onnxruntime what the detectors find in torch."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from mmcv.ops import ModulatedDeformConv2dPack
from mmdet.models import BaseDetector

from detection.deployment import onnx_format
from detection.deployment.exported import Exported
from detection.deployment.onnx_format import OnnxRunner
from detection.deployment.torch_runner import TorchRunner
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
    check_program,
    raw_error,
)

pytestmark = pytest.mark.timeout(180)  # torch's exporter takes many seconds


SIZE = Resolution(96, 64)


@pytest.fixture(scope="module", autouse=True)
def _each_detector_is_traced_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_format, "traced", tiny.traced_once)
        yield


@pytest.fixture(scope="module", params=COVERED, ids=str)
def fixed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Family, Exported]:
    """A family, and its export of one size."""
    folder = tmp_path_factory.mktemp("fixed")
    model = tiny.model(request.param, COVERED[request.param])
    return request.param, onnx_format.write(model, folder, tiny.request(size=SIZE))


def test_round_trip_at_one_size(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed

    check_equal(tiny.model(family, COVERED[family]), exported, (96, 64))


@pytest.mark.timeout(400)
def test_round_trip_at_any_size(tmp_path: Path) -> None:
    model = tiny.model(Family.FASTER_RCNN, tiny.KINDS[2])

    exported = onnx_format.write(model, tmp_path, tiny.request())

    check_equal(model, exported, *SIZES)
    check_batch(model, exported.model, 75, 130)


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_round_trip_of_every_family_and_kind(
    family: Family, kind: tiny.Kind, tmp_path: Path
) -> None:
    model = tiny.model(family, kind)

    exported = onnx_format.write(model, tmp_path, tiny.request())

    check_equal(model, exported, *SIZES)


LOSSES = {Precision.FP16: 0.01, Precision.INT8: 0.3}
"""Largest relative error of the outputs of detectors that were not trained."""


def written(
    family: Family, kind: tiny.Kind, folder: Path, precision: Precision, **values: Any
) -> Exported:
    request = tiny.request(
        precision=precision, calibration=[tiny.noise(96, 64, seed=seed) for seed in range(4)]
    )
    return onnx_format.write(tiny.model(family, kind), folder, replace(request, **values))


@pytest.mark.parametrize("precision", LOSSES)
@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.MASK_RCNN, Family.FCOS])
def test_fewer_bits_compute_nearly_the_same_in_a_smaller_file(
    family: Family, precision: Precision, tmp_path: Path
) -> None:
    kind = COVERED[family]

    exported = written(family, kind, tmp_path, precision, size=SIZE)

    model, graph = tiny.model(family, kind), onnx.load(exported.model)
    assert 0 < raw_error(model, exported, tiny.noise(96, 64)) < LOSSES[precision]
    assert (exported.runner.detect(tiny.noise(96, 64)).masks is None) == (not family.has_masks)
    assert {each.domain: each.version for each in graph.opset_import} == {"": 18}
    for each in (graph.graph.input[0], *graph.graph.output[:2]):
        assert each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    kinds = {tensor.data_type for tensor in graph.graph.initializer}
    assert {Precision.FP16: onnx.TensorProto.FLOAT16, Precision.INT8: onnx.TensorProto.INT8}[
        precision
    ] in kinds
    check_program(exported, tmp_path)


@pytest.mark.matrix
@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", LOSSES)
@pytest.mark.parametrize("kind", tiny.KINDS, ids=str)
@pytest.mark.parametrize("family", Family)
def test_every_family_and_kind_in_fewer_bits(
    family: Family, kind: tiny.Kind, precision: Precision, tmp_path: Path
) -> None:
    exported = written(family, kind, tmp_path, precision, calibration=calibration())

    for width, height in SIZES:
        error = raw_error(tiny.model(family, kind), exported, tiny.noise(width, height))
        assert 0 < error < LOSSES[precision]


def test_parts_that_cost_too_much_stay_in_32_bits(tmp_path: Path) -> None:
    losses = iter([0.03, 0.02, 0.005])
    family = Family.FCOS

    exported = written(
        family, COVERED[family], tmp_path, Precision.INT8, size=SIZE, ap_loss=lambda _: next(losses)
    )

    assert exported.kept == ("heads", "stem")
    weights = {each.name for each in onnx.load(exported.model).graph.initializer}
    quantised = {name.partition("_")[0] for name in weights if name.endswith("_quantized")}
    assert "neck.lateral" in quantised
    assert not any(name.startswith(("tail", "backbone.conv1")) for name in quantised)


def test_deformable_convolutions_are_refused(tmp_path: Path) -> None:
    model = tiny.model(Family.FCOS)
    model.backbone.layer4[0].conv1 = ModulatedDeformConv2dPack(16, 16, 3, padding=1)

    with pytest.raises(InvalidValueError, match="deformable convolutions cannot be exported"):
        onnx_format.write(model, tmp_path, tiny.request())


def check_batch(model: BaseDetector, file: Path, width: int, height: int) -> None:
    images = [tiny.noise(width, height, seed=seed) for seed in (0, 1, 2)]
    session = onnxruntime.InferenceSession(file)

    boxes, scores, labels, *masks = session.run(None, {"images": np.concatenate(images)})

    for number, image in enumerate(images):
        expected = TorchRunner(model).detect(image)
        count = len(expected.scores)
        np.testing.assert_allclose(scores[number, :count], expected.scores, atol=1e-4)
        np.testing.assert_allclose(boxes[number, :count], expected.boxes, atol=1e-2)
        assert labels[number].tolist()[:count] == expected.labels.tolist()
        assert (labels[number, count:] == -1).all()
        for each in masks:
            assert expected.masks is not None
            np.testing.assert_allclose(each[number, :count], expected.masks, atol=1e-3)
            assert not each[number, count:].any()


def test_a_batch_has_the_detections_of_each_image(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed

    check_batch(tiny.model(family, COVERED[family]), exported.model, 96, 64)


def test_a_fixed_size_is_the_only_one_that_the_file_takes(fixed: tuple[Family, Exported]) -> None:
    runner = OnnxRunner(fixed[1].model.read_bytes(), num_threads=1)

    assert len(runner.detect(tiny.noise(96, 64)).scores) > 5
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        runner.detect(tiny.noise(64, 96))


def test_the_file_has_standard_operators_and_no_others(fixed: tuple[Family, Exported]) -> None:
    family, exported = fixed
    model = onnx.load(exported.model)

    assert {each.domain: each.version for each in model.opset_import} == {"": 18}
    assert {node.domain for node in model.graph.node} == {""}
    kinds = {node.op_type for node in model.graph.node}
    assert "NonMaxSuppression" in kinds
    assert ("RoiAlign" in kinds) == family.two_stage
    assert [each.name for each in model.graph.input] == ["images"]
    names = ["boxes", "scores", "labels", *(["masks"] if family.has_masks else [])]
    assert [each.name for each in model.graph.output] == names


def test_the_file_tells_nothing_of_the_machine_it_was_written_on(
    fixed: tuple[Family, Exported],
) -> None:
    content = fixed[1].model.read_bytes()

    assert str(Path(onnx_format.__file__).parent).encode() not in content
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_predict_draws_what_it_finds_without_searchd(
    fixed: tuple[Family, Exported], tmp_path: Path
) -> None:
    check_program(fixed[1], tmp_path)


def test_predict_names_what_it_cannot_read(fixed: tuple[Family, Exported], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", fixed[1].programs[0], "missing.png", "drawn.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert "missing.png cannot be read as an image" in done.stderr
