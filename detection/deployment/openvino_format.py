"""Writes a detector as OpenVINO IR, `model.xml` with the weights in `model.bin`, and runs it.

The graph is that of the ONNX format, with the same input and outputs. 8 bits are NNCF's
post-training quantisation.
"""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("NNCF_CI", "1")  # otherwise NNCF sends statistics of its use to the vendor

import nncf
import numpy as np
import onnx
import openvino
from mmdet.models import BaseDetector
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix
from nncf.quantization.range_estimator import RangeEstimatorParametersSet
from numpy.typing import NDArray

from detection.deployment.exported import (
    Exported,
    Found,
    Pixels,
    Request,
    answers,
    facts,
    found_first,
)
from detection.deployment.graph import output_names
from detection.deployment.onnx_format import graph_and_parts
from detection.deployment.onnx_parts import INPUT, Parts
from detection.deployment.programs import USAGE, write_program
from detection.deployment.quantised import within_limit
from searchd.domain.errors import InvalidValueError
from searchd.domain.export_formats import Precision

nncf.set_log_level(logging.ERROR)  # it lists every operator that stays in 32 bits

MODEL_FILE = "model.xml"
SECTION = "searchd"
"""Section of the IR's runtime information in which `exported.facts` are stored."""
_HINTS = {Precision.FP32: "f32", Precision.FP16: "f16", Precision.INT8: "f32"}
"""What floating-point operators compute in. Without a hint OpenVINO chooses bfloat16 on some
processors. It may do so for f16, where a processor has that and not float16."""


class OpenvinoRunner:
    """Runs a graph in OpenVINO on the CPU."""

    def __init__(
        self, model: openvino.Model, *, num_threads: int, config: Mapping[str, str]
    ) -> None:
        threads = {"INFERENCE_NUM_THREADS": num_threads}
        self._compiled = openvino.compile_model(model, "CPU", threads | dict(config))
        self._answers = answers(
            name for output in self._compiled.outputs for name in output.get_names()
        )

    @property
    def software(self) -> str:
        """OpenVINO and its version."""
        return f"openvino {openvino.__version__.partition('-')[0]}"

    def detect(self, images: Pixels) -> Found:
        """Detect on one image."""
        found = self._compiled({INPUT: images})
        return found_first(found[name] for name in self._answers)

    def raw(self, images: Pixels) -> list[NDArray[np.float32]]:
        """Return the outputs of the one-stage head or the RPN, which the checked graph has."""
        found = self._compiled({INPUT: images})
        return [found[output] for output in self._compiled.outputs[len(self._answers) :]]


def write(model: BaseDetector, folder: Path, request: Request) -> Exported:
    """Write `model.xml`, `model.bin`, and the program `predict.py` that runs them.

    Args:
        model: The detector in eval mode, on the CPU.
        folder: An existing folder.
        request: What is written.

    Raises:
        InvalidValueError: The detector has an operator that is not exported.
        ParityError: Integers cost more AP than the request allows.
    """
    graph, parts = graph_and_parts(model, request)
    made, kept = _with_precision(graph, parts, folder, request)
    for result in made.model.get_results()[len(output_names(model)) :]:
        made.model.remove_result(result)
    path = folder / MODEL_FILE
    _save(made.model, path, request)
    return Exported(
        model=path,
        runner=made.runner,
        programs=(write_program(path),),
        parts=(path.with_suffix(".bin"),),
        usage=USAGE.format(packages="openvino numpy opencv-python-headless"),
        kept=tuple(kept),
    )


def load(model: Path, *, num_threads: int) -> OpenvinoRunner:
    """Return what runs files that `write` wrote.

    Raises:
        InvalidValueError: OpenVINO cannot read the file, or it is of another program.
    """
    try:
        read = openvino.Core().read_model(model)
        stored = json.loads(read.get_rt_info([SECTION, "config"]).value)
    except RuntimeError as error:
        raise InvalidValueError(f"{model} is no exported OpenVINO file: {error}") from error
    return OpenvinoRunner(read, num_threads=num_threads, config=stored)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Runnable:
    """A graph with raw outputs, and what runs it."""

    model: openvino.Model
    runner: OpenvinoRunner


def _with_precision(
    graph: onnx.ModelProto, parts: Parts, folder: Path, request: Request
) -> tuple[_Runnable, Sequence[str]]:
    """Return a graph in the precision of a request, and the parts that stay in 32 bits."""
    if request.precision is not Precision.INT8:
        read = openvino.Core().read_model(graph.SerializeToString())
        return _runnable(read, folder, request), []
    images = request.calibration
    return within_limit(
        lambda kept: _runnable(in_integers(graph, parts, kept, images), folder, request), request
    )


def in_integers(
    graph: onnx.ModelProto, parts: Parts, kept: Sequence[str], images: Sequence[Pixels]
) -> openvino.Model:
    """Return a graph whose parts compute in 8 bits.

    Args:
        graph: A graph in 32 bits.
        parts: The parts of its nodes.
        kept: Parts that stay in 32 bits.
        images: Images on which the ranges of values are measured.
    """
    model, names = openvino.Core().read_model(graph.SerializeToString()), _names(graph, parts)
    operators = [each.get_friendly_name() for each in model.get_ordered_ops()]
    # What OpenVINO makes of one ONNX node has suffixes after a slash.
    ignored = [name for name in operators if names.get(name.partition("/")[0], "") in ("", *kept)]
    return nncf.quantize(
        model,
        nncf.Dataset(images, lambda pixels: {INPUT: pixels}),
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
        advanced_parameters=AdvancedQuantizationParameters(
            # 7 bits in weights, so that AP is the same on processors without VNNI.
            overflow_fix=OverflowFix.ENABLE,
            # The range over all images. Means of the images' ranges clip values, and are of no use
            # if an image has no region on a level: an empty tensor has an endless range.
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )


def _runnable(model: openvino.Model, folder: Path, request: Request) -> _Runnable:
    """Return what runs a graph as it is after it was stored, with the same rounding."""
    path = folder / "checked.xml"
    _save(model, path, request)
    stored = openvino.Core().read_model(path)
    config = _config(request.precision)
    runner = OpenvinoRunner(stored, num_threads=request.num_threads, config=config)
    return _Runnable(model=model, runner=runner)


def _save(model: openvino.Model, path: Path, request: Request) -> None:
    described = facts(request) | {"config": json.dumps(_config(request.precision))}
    for name, text in described.items():
        model.set_rt_info(text, [SECTION, name])
    openvino.save_model(model, path, compress_to_fp16=request.precision is Precision.FP16)


def _config(precision: Precision) -> dict[str, str]:
    """Return how a graph is compiled."""
    return {"INFERENCE_PRECISION_HINT": _HINTS[precision]}


def _names(graph: onnx.ModelProto, parts: Parts) -> Parts:
    """Return the part of each ONNX node by its name and by the names of its outputs: OpenVINO names
    its operators after either."""
    outputs = {
        output: parts[node.name]
        for node in graph.graph.node
        if node.name in parts
        for output in node.output
    }
    return outputs | dict(parts)
