"""Runs detectors and layers in onnxruntime, on the CPU."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from mmdet.models import BaseDetector
from onnx import TensorProto, helper, numpy_helper

from detection.deployment.exported import Request
from detection.deployment.onnx_format import traced, without_raw_outputs
from detection.deployment.onnx_operators import OPSET
from detection.deployment.onnx_parts import INPUT
from detection.deployment.runtime import Batch
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer, LayerKind
from searchd.domain.resolution import Resolution

_IR_VERSION = 10
"""Version of the file format that came with `OPSET`; onnxruntime refuses those it does not know."""
ANY_SIZE = Request(
    precision=Precision.FP32, size=None, resolution=Resolution(64, 64), class_names=()
)
"""What is exported: the graph for images of any size, which is the default of exports."""


class OnnxRuntime:
    """Runs the exported graph."""

    def __init__(self, num_threads: int) -> None:
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = num_threads
        self._options.inter_op_num_threads = 1

    @property
    def software(self) -> str:
        """onnxruntime and its version."""
        return f"onnxruntime {onnxruntime.__version__}"

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Export a detector and load the graph; see `Runtime`."""
        session = self._session(without_raw_outputs(traced(model, ANY_SIZE)))
        return lambda images: session.run(None, {INPUT: images})

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Load a layer; see `Runtime`."""
        model, shape = layer_graph(layer, batch)
        session = self._session(model)
        example = {INPUT: np.random.default_rng(0).random(shape, dtype=np.float32)}
        return lambda: session.run(None, example)

    def _session(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), self._options, providers=["CPUExecutionProvider"]
        )


def create(num_threads: int, *, gpu: bool) -> OnnxRuntime:
    """Return the runtime, for this process."""
    assert not gpu  # `check_runtime` refuses it
    return OnnxRuntime(num_threads)


def layer_graph(layer: Layer, batch: int) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """Return a graph of one layer with random weights, and the shape of its input."""
    shape: tuple[int, ...]
    weight: tuple[int, ...]
    if layer.kind is LayerKind.LINEAR:
        shape = (batch * layer.height, layer.inputs)
        weight = (layer.inputs, layer.outputs)
        node = helper.make_node("Gemm", [INPUT, "weight", "bias"], ["out"])
    else:
        height, width = layer.height * layer.stride, layer.width * layer.stride
        shape = (batch, layer.inputs, height, width)
        weight = (layer.outputs, layer.inputs // layer.groups, layer.kernel, layer.kernel)
        node = helper.make_node(
            "Conv",
            [INPUT, "weight", "bias"],
            ["out"],
            group=layer.groups,
            pads=[layer.kernel // 2] * 4,
            strides=[layer.stride] * 2,
        )
    random = np.random.default_rng(0)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(random.random(size, dtype=np.float32), name)
            for name, size in (("weight", weight), ("bias", (layer.outputs,)))
        ],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), shape
