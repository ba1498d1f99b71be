"""Builds a TensorRT engine, `model.engine`, and runs it on the first GPU.

The graph is that of the ONNX format at one size. An engine runs on GPUs of the kind that it was
built on, with the TensorRT that built it.
"""

from pathlib import Path

import numpy as np
import onnx
import tensorrt
import torch
from mmdet.models import BaseDetector
from numpy.typing import NDArray
from torch import Tensor

from detection.deployment.exported import Exported, Found, Pixels, Request, answers, found_first
from detection.deployment.onnx_format import graph_and_parts, without_raw_outputs
from detection.deployment.onnx_parts import INPUT, in_half
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision

MODEL_FILE = "model.engine"
MAX_BATCH = 16
"""Largest number of images in a batch that an engine takes."""
_USAGE = f"""\
`{MODEL_FILE}` runs in TensorRT {tensorrt.__version__}, on a GPU like the one it was built on. \
Input and outputs are those of the ONNX format, with 1 to {MAX_BATCH} images in a batch."""
_LOGGER = tensorrt.Logger(tensorrt.Logger.WARNING)


class TensorrtRunner:
    """Runs a serialised engine on the first GPU."""

    def __init__(self, engine: bytes) -> None:
        self._engine = tensorrt.Runtime(_LOGGER).deserialize_cuda_engine(engine)
        self._context = self._engine.create_execution_context()
        self._stream = torch.cuda.Stream()

    @property
    def software(self) -> str:
        """TensorRT and its version."""
        return f"tensorrt {tensorrt.__version__}"

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        found = self._run(images)
        return found_first(found[name] for name in answers(found))

    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN, which the checked engine has."""
        found = self._run(images)
        return [each for name, each in found.items() if name not in answers(found)]

    def _run(self, images: Pixels) -> dict[str, NDArray[np.float32]]:
        """Return every output by its name."""
        pixels = torch.from_numpy(images).cuda().contiguous()
        self._context.set_input_shape(INPUT, tuple(pixels.shape))
        self._context.set_tensor_address(INPUT, pixels.data_ptr())
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        outputs = {name: self._output(name) for name in names if name != INPUT}
        self._stream.wait_stream(torch.cuda.current_stream())
        self._context.execute_async_v3(self._stream.cuda_stream)
        self._stream.synchronize()
        return {name: each.cpu().numpy() for name, each in outputs.items()}

    def _output(self, name: str) -> Tensor:
        """Return where the next run writes an output."""
        kind = np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name)))
        made = torch.empty(
            tuple(self._context.get_tensor_shape(name)),
            dtype=torch.from_numpy(np.empty(0, kind)).dtype,
            device="cuda",
        )
        self._context.set_tensor_address(name, made.data_ptr())
        return made


def write(model: BaseDetector, folder: Path, request: Request) -> Exported:
    """Write `model.engine`.

    Args:
        model: The detector in eval mode, on the CPU.
        folder: An existing folder.
        request: What is written, with a size.

    Raises:
        InvalidValueError: There is no GPU, TensorRT cannot build the graph, or the detector has an
            operator that is not exported.
    """
    if not torch.cuda.is_available():
        raise InvalidValueError(
            "format=tensorrt needs a GPU where workers run, and there is none; use format=onnx and "
            "build the engine with trtexec on the machine that will run it (docs/export.md)"
        )
    graph, parts = graph_and_parts(model, request)
    checked = in_half(graph, parts) if request.precision is Precision.FP16 else graph
    path = folder / MODEL_FILE
    path.write_bytes(_engine(without_raw_outputs(checked), request))
    return Exported(model=path, runner=TensorrtRunner(_engine(checked, request)), usage=_USAGE)


def load(model: Path, *, num_threads: int) -> TensorrtRunner:
    """Return what runs a file that `write` wrote. The number of threads has no effect on a GPU."""
    del num_threads
    return TensorrtRunner(model.read_bytes())


def _engine(graph: onnx.ModelProto, request: Request) -> bytes:
    """Build an engine whose precisions are those of the graph."""
    assert request.size is not None  # the registry demands it
    builder = tensorrt.Builder(_LOGGER)
    flag = tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    network = builder.create_network(1 << int(flag))
    parser = tensorrt.OnnxParser(network, _LOGGER)
    if not parser.parse(graph.SerializeToString()):
        raise InvalidValueError(f"TensorRT cannot read the graph: {parser.get_error(0).desc()}")
    shape = (3, request.size.height, request.size.width)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, (1, *shape), (1, *shape), (MAX_BATCH, *shape))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InvalidValueError("TensorRT cannot build the graph; the worker's log has the reason")
    return bytes(engine)
