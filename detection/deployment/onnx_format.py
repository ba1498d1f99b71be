"""Writes a detector as one ONNX file, from pixels to boxes, and runs it in onnxruntime.

Input: `images`, float32, B x 3 x H x W, RGB, 0 to 255. Outputs: `boxes`, `scores` and `labels`, and
`masks` of a detector that finds them, as `detection.deployment.graph.GraphOutputs` describes them.
B may have any value, and so may H and W unless the request fixes them.
"""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from mmdet.models import BaseDetector
from numpy.typing import NDArray
from torch.export import Dim

from detection.deployment.exported import (
    Exported,
    Found,
    Pixels,
    Request,
    answers,
    facts,
    found_first,
)
from detection.deployment.graph import DetectorGraph, check_operators, output_names
from detection.deployment.onnx_operators import OPSET, TRANSLATIONS
from detection.deployment.onnx_parts import INPUT, Parts, in_half, in_integers, parts_of
from detection.deployment.programs import USAGE, write_program
from detection.deployment.quantised import within_limit
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision

MODEL_FILE = "model.onnx"
_UNREADABLE = tuple(
    getattr(onnxruntime.capi.onnxruntime_pybind11_state, name)
    for name in ("Fail", "InvalidGraph", "InvalidProtobuf")
)
"""Errors of onnxruntime about files that are damaged or no graphs."""
_TRTEXEC = """

Where TensorRT 10 or later is installed, this builds an engine for the GPU of the machine. It was \
not run for this file:

```
trtexec --onnx=model.onnx --stronglyTyped --saveEngine=model.engine \\
  --minShapes=images:1x3x{smallest} --optShapes=images:1x3x{largest} \\
  --maxShapes=images:16x3x{largest}
```"""
_TRACED = (128, 160)
"""Height and width of the images that a graph for any size is traced with."""


class OnnxRunner:
    """Runs an ONNX graph in onnxruntime on the CPU."""

    def __init__(self, model: bytes, *, num_threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        names = [each.name for each in self._session.get_outputs()]
        self._answers = answers(names)
        self._raw = names[len(self._answers) :]

    @property
    def software(self) -> str:
        """onnxruntime and its version."""
        return f"onnxruntime {onnxruntime.__version__}"

    @property
    def facts(self) -> dict[str, Any]:
        """What the file tells of itself; see `write`."""
        stored = self._session.get_modelmeta().custom_metadata_map
        return {name: json.loads(text) for name, text in stored.items()}

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        return found_first(self._session.run(self._answers, {INPUT: images}))

    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN, which the checked graph has."""
        found: list[NDArray[np.float32]] = self._session.run(self._raw, {INPUT: images})
        return found


def write(model: BaseDetector, folder: Path, request: Request) -> Exported:
    """Write `model.onnx`, and the program `predict.py` that runs it.

    Args:
        model: The detector in eval mode, on the CPU.
        folder: An existing folder.
        request: What is written.

    Raises:
        InvalidValueError: The detector has an operator that is not exported.
        ParityError: Integers cost more AP than the request allows.
    """
    made, kept = _with_precision(*graph_and_parts(model, request), request)
    shipped = without_raw_outputs(made.graph)
    onnx.checker.check_model(shipped, full_check=True)
    path = folder / MODEL_FILE
    path.write_bytes(shipped.SerializeToString())
    return Exported(
        model=path,
        runner=made.runner,
        programs=(write_program(path),),
        usage=_usage(request),
        kept=tuple(kept),
    )


def graph_and_parts(model: BaseDetector, request: Request) -> tuple[onnx.ModelProto, Parts]:
    """Return the graph in 32 bits with raw outputs, and the parts of its nodes.

    Raises:
        InvalidValueError: The detector has an operator that is not exported.
    """
    check_operators(model)
    graph = traced(model, request)
    parts = parts_of(graph)
    _forget_sources(graph)
    return graph, parts


def _usage(request: Request) -> str:
    usage = USAGE.format(packages="onnxruntime numpy opencv-python-headless")
    if request.precision is Precision.INT8:
        return usage  # TensorRT has no integers with a zero point
    wanted = request.size or request.resolution
    largest = f"{wanted.height}x{wanted.width}"
    smallest = largest if request.size else "32x32"
    return usage + _TRTEXEC.format(smallest=smallest, largest=largest)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Runnable:
    """A graph with raw outputs, and what runs it."""

    graph: onnx.ModelProto
    runner: OnnxRunner


def _with_precision(
    graph: onnx.ModelProto, parts: Parts, request: Request
) -> tuple[_Runnable, Sequence[str]]:
    """Return a graph in the precision of a request, and the parts that stay in 32 bits."""
    if request.precision is Precision.INT8:
        images = request.calibration
        return within_limit(
            lambda kept: _runnable(in_integers(graph, parts, kept, images), request), request
        )
    half = request.precision is Precision.FP16
    return _runnable(in_half(graph, parts) if half else graph, request), []


def _runnable(graph: onnx.ModelProto, request: Request) -> _Runnable:
    _forget_sources(graph)
    _describe(graph, request)
    runner = OnnxRunner(graph.SerializeToString(), num_threads=request.num_threads)
    return _Runnable(graph=graph, runner=runner)


def load(model: Path, *, num_threads: int) -> OnnxRunner:
    """Return what runs a file that `write` wrote.

    Raises:
        InvalidValueError: onnxruntime cannot read the file.
    """
    try:
        return OnnxRunner(model.read_bytes(), num_threads=num_threads)
    except _UNREADABLE as error:
        raise InvalidValueError(
            f"{model} is no ONNX file that onnxruntime reads: {error}"
        ) from error


def traced(model: BaseDetector, request: Request) -> onnx.ModelProto:
    """Return the graph, whose outputs are detections and then the raw outputs of the head."""
    size = request.size
    height, width = _TRACED if size is None else (size.height, size.width)
    # Two images: torch takes the size 1 for a constant.
    example = torch.zeros(2, 3, height, width)
    axes: dict[int, Any] = {0: Dim("batch")}
    if size is None:
        axes |= {2: Dim("height", min=1), 3: Dim("width", min=1)}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own code
        program = torch.onnx.export(
            DetectorGraph(model).eval(),
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(output_names(model)),
            dynamic_shapes=(axes,),
            opset_version=OPSET,
            custom_translation_table=dict(TRANSLATIONS),
            external_data=False,
            verbose=False,
        )
    assert program is not None  # dynamo returns a program
    graph: onnx.ModelProto = program.model_proto
    return graph


def without_raw_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a graph that returns detections only."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[len(answers(each.name for each in copy.graph.output)) :]
    return copy


def _forget_sources(model: onnx.ModelProto) -> None:
    """Remove what torch notes of each node: lines and paths of the code on this machine, which can
    take more space than the weights."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        each.ClearField("metadata_props")
        each.ClearField("doc_string")


def _describe(model: onnx.ModelProto, request: Request) -> None:
    """Store in the file what a program needs to use it."""
    onnx.helper.set_model_props(model, facts(request))
    model.producer_name = "searchd"
