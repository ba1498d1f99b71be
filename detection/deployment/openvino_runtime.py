"""Runs detectors and layers in OpenVINO, on the CPU."""

from collections.abc import Callable

import openvino
from mmdet.models import BaseDetector

from detection.deployment.onnx_format import graph_and_parts, without_raw_outputs
from detection.deployment.onnx_layers import layer_graph
from detection.deployment.onnx_parts import INPUT
from detection.deployment.onnx_runtime import ANY_SIZE, calibration_noise
from detection.deployment.openvino_format import in_integers
from detection.deployment.runtime import Batch
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer


class OpenvinoRuntime:
    """Runs the exported graph as an `openvino` export does."""

    def __init__(self, num_threads: int, precision: Precision = Precision.FP32) -> None:
        """
        Args:
            num_threads: Threads of the runtime.
            precision: fp32, or int8: then all parts of a detector compute in integers.
        """
        self._num_threads = num_threads
        self._precision = precision

    @property
    def software(self) -> str:
        """OpenVINO and its version."""
        return f"openvino {openvino.__version__.partition('-')[0]}"

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Export a detector and compile the graph; see `Runtime`."""
        graph, parts = graph_and_parts(model, ANY_SIZE)
        shipped = without_raw_outputs(graph)
        if self._precision is Precision.INT8:
            run = self._compiled(in_integers(shipped, parts, (), calibration_noise()))
        else:
            run = self._compiled(openvino.Core().read_model(shipped.SerializeToString()))
        return lambda images: run({INPUT: images})

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Compile a layer; see `Runtime`."""
        made = layer_graph(layer, batch, self._precision)
        run = self._compiled(openvino.Core().read_model(made.graph.SerializeToString()))
        return lambda: run(made.example)

    def _compiled(self, model: openvino.Model) -> openvino.CompiledModel:
        # Without the hint OpenVINO computes in bfloat16 on some processors.
        config = {"INFERENCE_NUM_THREADS": self._num_threads, "INFERENCE_PRECISION_HINT": "f32"}
        return openvino.compile_model(model, "CPU", config)


def create(num_threads: int, *, gpu: bool, precision: Precision) -> OpenvinoRuntime:
    """Return the runtime, for this process."""
    assert not gpu  # `check_runtime` refuses it
    return OpenvinoRuntime(num_threads, precision)
