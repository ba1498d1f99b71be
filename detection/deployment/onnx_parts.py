"""Which part of a detector each node of its ONNX graph belongs to, and graphs in fewer bits.

A part is the stem or a stage of the backbone, the neck, or the heads. Nodes of no part normalise
pixels, decode and choose boxes; they always compute in 32 bits, and so does what a head does with
its layers' outputs.
"""

import ast
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from detection.deployment.exported import Pixels

INPUT = "images"
_SCOPES = "pkg.torch.onnx.name_scopes"
"""What torch's exporter notes of each node: the modules around it, from the outermost."""
_STAGE = re.compile(r"backbone\.layer(\d+)")
_HEAD = re.compile(r"(tail\.(head|rpn|heads\.\d+)|masks\.heads\.\d+)(\.|$)(?P<layer>.*)")
_QUANTISED = frozenset({"Conv", "Gemm", "MatMul", "Add", "Relu", "Clip", "MaxPool", "Resize"})
"""Operators that get integers: those with weights, and those between them."""

Parts = Mapping[str, str]
"""The part of a node, by the node's name."""


def parts_of(graph: onnx.ModelProto) -> Parts:
    """Return the parts of the nodes that have one, of a graph as torch's exporter makes it."""
    found = {node.name: _part(node) for node in graph.graph.node}
    return {name: part for name, part in found.items() if part is not None}


def in_half(graph: onnx.ModelProto, parts: Parts) -> onnx.ModelProto:
    """Return a graph whose parts compute in 16 bits; inputs, outputs and the rest stay in 32."""
    kept = [node.name for node in graph.graph.node if node.name not in parts]
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    half = convert_float_to_float16(
        copy, keep_io_types=True, op_block_list=[], node_block_list=kept
    )
    _without_round_trips(half.graph)
    ONNXModel(half).topological_sort()  # it adds nodes at the end
    return half


def in_integers(
    graph: onnx.ModelProto, parts: Parts, kept: Sequence[str], images: Sequence[Pixels]
) -> onnx.ModelProto:
    """Return a graph whose parts compute in 8 bits, between operators that quantise (QDQ).

    Weights have 7 bits, with a scale for each channel: so no sum overflows on processors without
    VNNI, and AP is the same on all.

    Args:
        graph: A graph in 32 bits.
        parts: The parts of its nodes.
        kept: Parts that stay in 32 bits.
        images: Images on which the ranges of values are measured.
    """
    copy = onnx.ModelProto()  # quantize_static moves the weights out of what it is given
    copy.CopyFrom(graph)
    # Batch normalisation is folded already, which is what it would recommend.
    onnx.helper.set_model_props(copy, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.onnx"
        quantize_static(
            copy,
            path,
            _Reader(images),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=sorted(_QUANTISED),
            nodes_to_quantize=list(_with_integers(graph, parts, kept)),
        )
        return onnx.load(path)


class _Reader(CalibrationDataReader):
    """Hands images to onnxruntime, one at a time."""

    def __init__(self, images: Sequence[Pixels]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Pixels] | None:
        image = next(self._images, None)
        return None if image is None else {INPUT: image}


def _part(node: onnx.NodeProto) -> str | None:
    scopes = {each.key: each.value for each in node.metadata_props}.get(_SCOPES, "['', '']")
    module = ast.literal_eval(scopes)[-2]  # the last one is the operator
    if stage := _STAGE.match(module):
        return f"stage {stage[1]}"
    if module.startswith("backbone"):
        return "stem"
    if module.startswith("neck"):
        return "neck"
    head = _HEAD.match(module)
    # Activations of the RPN are functions, and not layers.
    return "heads" if head and (head["layer"] or node.op_type == "Relu") else None


def _with_integers(graph: onnx.ModelProto, parts: Parts, kept: Sequence[str]) -> Iterator[str]:
    """Yield the names of the nodes that get integers."""
    constants = {each.name for each in graph.graph.initializer}
    for node in graph.graph.node:
        part = parts.get(node.name)
        # An addition of constants is part of a normalisation.
        is_shift = node.op_type == "Add" and not constants.isdisjoint(node.input)
        if part is not None and part not in kept and node.op_type in _QUANTISED and not is_shift:
            yield node.name


def _without_round_trips(graph: onnx.GraphProto) -> None:
    """Undo conversions to 16 bits that are reversed at once. The converter puts them between nodes
    that both stay in 32 bits, and they would round the corners of boxes to whole pixels."""
    halves = {
        node.output[0]: node.input[0] for node in graph.node if _casts_to(node, TensorProto.FLOAT16)
    }
    undone = {
        node.output[0]: halves[node.input[0]]
        for node in graph.node
        if _casts_to(node, TensorProto.FLOAT) and node.input[0] in halves
    }
    for node in graph.node:
        if node.output[0] in undone:  # stays if it is an output of the graph
            node.op_type = "Identity"
            node.ClearField("attribute")
            node.input[0] = undone[node.output[0]]
        else:
            node.input[:] = [undone.get(name, name) for name in node.input]
    used = {name for node in graph.node for name in node.input} | {o.name for o in graph.output}
    kept = [node for node in graph.node if not used.isdisjoint(node.output)]
    del graph.node[:], graph.value_info[:]  # types have changed
    graph.node.extend(kept)


def _casts_to(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and node.attribute[0].i == kind
