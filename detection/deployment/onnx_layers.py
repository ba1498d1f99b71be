"""Single layers with random weights as ONNX graphs, in 32 bits or with integers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from detection.deployment.onnx_operators import OPSET
from detection.deployment.onnx_parts import INPUT
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer, LayerKind

_IR_VERSION = 10
"""Version of the file format that came with `OPSET`; onnxruntime refuses those it does not know."""
_OUT = "out"
_SCALE, _ZERO = 0.02, 128
"""Scale and zero point of integers between layers; time does not depend on them."""
_MOST = 64
"""Weights have 7 of the 8 bits, as in exports."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerGraph:
    """A layer that can be run."""

    graph: onnx.ModelProto
    """The layer, from the input `images` to the output `out`."""
    example: NDArray[Any]
    """An input: float32, or uint8 with integers."""


def layer_graph(layer: Layer, batch: int, precision: Precision = Precision.FP32) -> LayerGraph:
    """Return a layer with random weights, and an input of a batch.

    With integers, input and output are integers too, as between two layers of a detector.

    Args:
        layer: The layer.
        batch: Number of images.
        precision: fp32 or int8.
    """
    return _in_integers(layer, batch) if precision is Precision.INT8 else _in_floats(layer, batch)


def _in_floats(layer: Layer, batch: int) -> LayerGraph:
    random = np.random.default_rng(0)
    example = random.random(_input_shape(layer, batch), dtype=np.float32)
    constants = {
        "weight": random.random(_weight_shape(layer), dtype=np.float32),
        "bias": random.random(layer.outputs, dtype=np.float32),
    }
    node = _node(layer, [INPUT, *constants], _OUT)
    return LayerGraph(graph=_model([node], example, constants), example=example)


def _in_integers(layer: Layer, batch: int) -> LayerGraph:
    random, outputs = np.random.default_rng(0), layer.outputs
    example = random.integers(0, 256, _input_shape(layer, batch), dtype=np.uint8)
    # Each output channel has a scale of its own, as in exports.
    scales = random.uniform(1e-3, 2e-3, outputs).astype(np.float32)
    # Without zero points, which are 0, onnxruntime computes linear layers in 32 bits.
    constants = {
        "scale": np.float32(_SCALE),
        "zero": np.uint8(_ZERO),
        "weight": random.integers(-_MOST, _MOST, _weight_shape(layer), dtype=np.int8),
        "weight_scale": scales,
        "weight_zero": np.zeros(outputs, np.int8),
        "bias": random.integers(-99, 99, outputs, dtype=np.int32),
        "bias_scale": scales * np.float32(_SCALE),
        "bias_zero": np.zeros(outputs, np.int32),
    }
    axis = 1 if layer.kind is LayerKind.LINEAR else 0
    nodes = [
        helper.make_node("DequantizeLinear", [INPUT, "scale", "zero"], ["x"]),
        _dequantized("weight", "w", axis=axis),
        _dequantized("bias", "b", axis=0),
        _node(layer, ["x", "w", "b"], "y"),
        helper.make_node("QuantizeLinear", ["y", "scale", "zero"], [_OUT]),
    ]
    return LayerGraph(graph=_model(nodes, example, constants), example=example)


def _dequantized(name: str, output: str, *, axis: int) -> NodeProto:
    inputs = [name, f"{name}_scale", f"{name}_zero"]
    return helper.make_node("DequantizeLinear", inputs, [output], axis=axis)


def _input_shape(layer: Layer, batch: int) -> tuple[int, ...]:
    if layer.kind is LayerKind.LINEAR:
        return (batch * layer.height, layer.inputs)
    return (batch, layer.inputs, layer.height * layer.stride, layer.width * layer.stride)


def _weight_shape(layer: Layer) -> tuple[int, ...]:
    if layer.kind is LayerKind.LINEAR:
        return (layer.inputs, layer.outputs)
    return (layer.outputs, layer.inputs // layer.groups, layer.kernel, layer.kernel)


def _node(layer: Layer, inputs: Sequence[str], output: str) -> NodeProto:
    if layer.kind is LayerKind.LINEAR:
        return helper.make_node("Gemm", inputs, [output])
    return helper.make_node(
        "Conv",
        inputs,
        [output],
        group=layer.groups,
        pads=[layer.kernel // 2] * 4,
        strides=[layer.stride] * 2,
    )


def _model(
    nodes: Sequence[NodeProto], example: NDArray[Any], constants: dict[str, Any]
) -> onnx.ModelProto:
    integers = example.dtype == np.uint8
    kind = TensorProto.UINT8 if integers else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info(INPUT, kind, example.shape)],
        [helper.make_tensor_value_info(_OUT, kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
