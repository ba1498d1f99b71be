"""Runs detectors and layers in onnxruntime, on the CPU."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from mmdet.models import BaseDetector

from detection.deployment.exported import Pixels, Request
from detection.deployment.onnx_format import graph_and_parts, without_raw_outputs
from detection.deployment.onnx_layers import layer_graph
from detection.deployment.onnx_parts import INPUT, in_integers
from detection.deployment.runtime import Batch
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer
from searchd.domain.resolution import Resolution

ANY_SIZE = Request(
    precision=Precision.FP32, size=None, resolution=Resolution(64, 64), class_names=()
)
"""What is exported: the graph for images of any size, which is the default of exports."""
_NUM_CALIBRATED = 2


class OnnxRuntime:
    """Runs the exported graph."""

    def __init__(self, num_threads: int, precision: Precision = Precision.FP32) -> None:
        """
        Args:
            num_threads: Threads of each operator.
            precision: fp32, or int8: then all parts of a detector compute in integers.
        """
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = num_threads
        self._options.inter_op_num_threads = 1
        self._precision = precision

    @property
    def software(self) -> str:
        """onnxruntime and its version."""
        return f"onnxruntime {onnxruntime.__version__}"

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Export a detector and load the graph; see `Runtime`."""
        graph, parts = graph_and_parts(model, ANY_SIZE)
        if self._precision is Precision.INT8:
            graph = in_integers(graph, parts, (), calibration_noise())
        session = self._session(without_raw_outputs(graph))
        return lambda images: session.run(None, {INPUT: images})

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Load a layer; see `Runtime`."""
        made = layer_graph(layer, batch, self._precision)
        session = self._session(made.graph)
        return lambda: session.run(None, {INPUT: made.example})

    def _session(self, model: onnx.ModelProto) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(
            model.SerializeToString(), self._options, providers=["CPUExecutionProvider"]
        )


def create(num_threads: int, *, gpu: bool, precision: Precision) -> OnnxRuntime:
    """Return the runtime, for this process."""
    assert not gpu  # `check_runtime` refuses it
    return OnnxRuntime(num_threads, precision)


def calibration_noise() -> list[Pixels]:
    """Return images that the ranges of integers are measured on. How long a graph takes does not
    depend on these ranges."""
    random = np.random.default_rng(0)
    shape = (1, 3, ANY_SIZE.resolution.height, ANY_SIZE.resolution.width)
    return [random.random(shape, dtype=np.float32) * 255 for _ in range(_NUM_CALIBRATED)]
