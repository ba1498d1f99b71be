"""Devices that compute with integers: layers and detectors as they are in int8 exports."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from mmcv.ops import ModulatedDeformConv2dPack

from detection.deployment import onnx_format
from detection.deployment.device_table import noise
from detection.deployment.onnx_layers import layer_graph
from detection.deployment.runtime import create
from searchd.domain.detector import Family
from searchd.domain.devices import RuntimeName
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer, LayerKind
from searchd.domain.resolution import Resolution
from tests.detection.deployment import tiny

pytestmark = pytest.mark.timeout(180)  # torch's exporter takes many seconds

LAYERS = {
    "conv3x3": Layer(inputs=4, outputs=6, kernel=3, stride=2, groups=2, height=5, width=7),
    "conv1x1": Layer(inputs=4, outputs=6, height=5, width=7),
    "linear": Layer(kind=LayerKind.LINEAR, inputs=4, outputs=6, height=5),
}
WITH_INTEGERS = (RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO)


@pytest.mark.parametrize("runtime", WITH_INTEGERS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_integers_has_the_size_that_it_says(runtime: RuntimeName, name: str) -> None:
    found: Any = create(runtime, 1, gpu=False, precision=Precision.INT8).layer(LAYERS[name], 2)()

    assert found[0].dtype == np.uint8
    assert found[0].shape == ((10, 6) if name == "linear" else (2, 6, 5, 7))
    assert found[0].std() > 0


@pytest.mark.parametrize(
    ("name", "operator"),
    [("conv3x3", "QLinearConv"), ("conv1x1", "QLinearConv"), ("linear", "QGemm")],
)
def test_onnxruntime_computes_a_layer_of_integers_in_integers(
    name: str, operator: str, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    graph = layer_graph(LAYERS[name], 2, Precision.INT8).graph

    onnxruntime.InferenceSession(graph.SerializeToString(), options)

    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    # Convolutions are computed with the channels last.
    assert {node.op_type for node in nodes} - {"Transpose"} == {operator}


@pytest.mark.parametrize("runtime", WITH_INTEGERS)
def test_a_detector_of_integers_finds_nearly_the_same(
    runtime: RuntimeName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_format, "traced", tiny.traced_once)
    images = noise(Resolution(96, 64), 2)

    def outputs(precision: Precision) -> Any:
        model = tiny.model(Family.FASTER_RCNN, tiny.KINDS[2])
        found: Any = create(runtime, 1, gpu=False, precision=precision).detector(model)(images)
        return [found[number] for number in range(3)]

    exact, nearly = outputs(Precision.FP32), outputs(Precision.INT8)

    assert nearly[0].shape == exact[0].shape == (2, 100, 4)
    best, others = exact[1][:, 0], nearly[1][:, 0]
    assert 0 < np.abs(best - others).max() < 0.2


@pytest.mark.parametrize("runtime", WITH_INTEGERS)
def test_deformable_convolutions_are_refused_by_name(runtime: RuntimeName) -> None:
    model = tiny.model(Family.FCOS)
    model.backbone.layer4[0].conv1 = ModulatedDeformConv2dPack(16, 16, 3, padding=1)

    with pytest.raises(InvalidValueError, match="deformable convolutions cannot be exported"):
        create(runtime, 1, gpu=False).detector(model)
