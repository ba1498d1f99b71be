"""Runs detectors and layers in OpenVINO, on the CPU."""

from collections.abc import Callable

import numpy as np
import onnx
import openvino
from mmdet.models import BaseDetector

from detection.deployment.onnx_format import traced, without_raw_outputs
from detection.deployment.onnx_parts import INPUT
from detection.deployment.onnx_runtime import ANY_SIZE, layer_graph
from detection.deployment.runtime import Batch
from searchd.domain.latency_table import Layer


class OpenvinoRuntime:
    """Runs the exported graph as an `openvino` export in 32 bits does."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads

    @property
    def software(self) -> str:
        """OpenVINO and its version."""
        return f"openvino {openvino.__version__.partition('-')[0]}"

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Export a detector and compile the graph; see `Runtime`."""
        run = self._compiled(without_raw_outputs(traced(model, ANY_SIZE)))
        return lambda images: run({INPUT: images})

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Compile a layer; see `Runtime`."""
        model, shape = layer_graph(layer, batch)
        run = self._compiled(model)
        example = {INPUT: np.random.default_rng(0).random(shape, dtype=np.float32)}
        return lambda: run(example)

    def _compiled(self, model: onnx.ModelProto) -> openvino.CompiledModel:
        read = openvino.Core().read_model(model.SerializeToString())
        # Without the hint OpenVINO computes in bfloat16 on some processors.
        config = {"INFERENCE_NUM_THREADS": self._num_threads, "INFERENCE_PRECISION_HINT": "f32"}
        return openvino.compile_model(read, "CPU", config)


def create(num_threads: int, *, gpu: bool) -> OpenvinoRuntime:
    """Return the runtime, for this process."""
    assert not gpu  # `check_runtime` refuses it
    return OpenvinoRuntime(num_threads)
