"""Runs detectors and layers in torch, on the CPU or a GPU."""

from collections.abc import Callable

import torch
from mmdet.models import BaseDetector
from torch import Tensor, nn

from detection.deployment.graph import DetectorGraph
from detection.deployment.runtime import Batch
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision
from searchd.domain.latency_table import Layer, LayerKind


class TorchRuntime:
    """Runs the graph that is exported, operator by operator."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def software(self) -> str:
        """torch and its version."""
        return f"torch {torch.__version__}"

    def detector(self, model: BaseDetector) -> Callable[[Batch], object]:
        """Load a detector; see `Runtime`."""
        graph = DetectorGraph(model).eval().to(self._device)

        def run(images: Batch) -> object:
            with torch.inference_mode():
                found = graph(torch.from_numpy(images).to(self._device))
                return [tensor.cpu() for tensor in found[:3]]

        return run

    def layer(self, layer: Layer, batch: int) -> Callable[[], object]:
        """Load a layer; see `Runtime`."""
        module, example = _module(layer, batch)
        module, example = module.eval().to(self._device), example.to(self._device)

        def run() -> object:
            with torch.inference_mode():
                out = module(example)
                if self._device.type == "cuda":
                    torch.cuda.synchronize(self._device)
                return out

        return run


def create(num_threads: int, *, gpu: bool, precision: Precision) -> TorchRuntime:
    """Return the runtime, for this process.

    Raises:
        InvalidValueError: torch finds no GPU.
    """
    assert precision is Precision.FP32  # `check_runtime` refuses others
    if gpu and not torch.cuda.is_available():
        raise InvalidValueError("gpu: torch finds no GPU on the device; see searchd doctor")
    torch.set_num_threads(num_threads)
    return TorchRuntime(torch.device("cuda" if gpu else "cpu"))


def _module(layer: Layer, batch: int) -> tuple[nn.Module, Tensor]:
    if layer.kind is LayerKind.LINEAR:
        return nn.Linear(layer.inputs, layer.outputs), torch.rand(
            batch * layer.height, layer.inputs
        )
    convolution = nn.Conv2d(
        layer.inputs,
        layer.outputs,
        layer.kernel,
        stride=layer.stride,
        padding=layer.kernel // 2,
        groups=layer.groups,
    )
    height, width = layer.height * layer.stride, layer.width * layer.stride
    return convolution, torch.rand(batch, layer.inputs, height, width)
