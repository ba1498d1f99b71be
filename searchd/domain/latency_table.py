"""Predicts how long a detector takes on a device, from layers that were measured there. Standard
library only.

Convolutions and linear layers are measured one by one. A layer that was not measured is
interpolated: a line in its multiply-accumulates and the numbers that it moves, corrected by how far
similar layers are from their lines. What is not a layer (decoding, NMS, RoIAlign, element-wise
operators, the cost of a call) is a sum of few terms, whose factors are fitted on whole detectors.
`detection.deployment.latency_fit` makes the tables.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_NEAR = 0.5
"""Distance of similar layers: half a doubling of the channels."""
_FAR = 8.0
"""Half the squared distance, in units of `_NEAR`, from which on a measured layer says less and less
about another one."""
Line = tuple[float, float, float]
"""Seconds of a call, of a multiply-accumulate, and of a number that is moved."""
ANY_KIND = ""
"""The name of the line through all layers."""


class LayerKind(StrEnum):
    """The operator of a layer.

    Attributes:
        CONV: A convolution.
        LINEAR: A fully connected layer, or another product with a matrix of weights.
    """

    CONV = "conv"
    LINEAR = "linear"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Layer:
    """A convolution or linear layer with the size of its result, for one image."""

    kind: LayerKind = LayerKind.CONV
    inputs: int
    """Number of input channels."""
    outputs: int
    """Number of output channels."""
    kernel: int = 1
    """Height and width of the kernel."""
    stride: int = 1
    groups: int = 1
    height: int
    """Height of the output; of a linear layer, the number of rows."""
    width: int = 1
    """Width of the output; 1 for a linear layer."""

    @property
    def macs(self) -> float:
        """Multiply-accumulates."""
        return float(self._weights * self.height * self.width)

    @property
    def numbers(self) -> float:
        """Numbers that are read or written: inputs, outputs and weights."""
        pixels = self.height * self.width
        moved = self.inputs * pixels * self.stride**2 + self.outputs * pixels
        return float(moved + self._weights)

    @property
    def similar_to(self) -> str:
        """The layers that it is interpolated from."""
        if self.kind is LayerKind.LINEAR:
            return "linear"
        if self.groups > 1:
            return "depthwise" if self.groups == self.inputs else "grouped"
        return f"{self.kernel}x{self.kernel}"

    def distance(self, other: "Layer") -> float:
        """Return half the squared distance of two layers, in units of that of similar ones."""
        squares = (
            math.log2(self.inputs / other.inputs) ** 2,
            math.log2(self.outputs / other.outputs) ** 2,
            math.log2(self.height * self.width / (other.height * other.width)) ** 2,
            float((self.stride - other.stride) ** 2),
        )
        return sum(squares) / (2 * _NEAR**2)

    @property
    def _weights(self) -> int:
        return self.outputs * (self.inputs // self.groups) * self.kernel**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a detector does with one image."""

    family: str
    """Family of the detector."""
    pixels: float
    """Number of pixels of the padded input."""
    layers: tuple[tuple[Layer, int], ...]
    """The layers, and how often each is computed."""
    activations: float
    """Numbers that norms and activation functions compute."""
    elements: float
    """Numbers that other operators compute: additions, pooling, resizing."""
    regions: float
    """Features that RoIAlign computes of a region, over all regions; 0 for a one-stage detector."""
    proposals: float = 0.0
    """Regions that are pooled, decoded and go through NMS; 0 for a one-stage detector."""
    class_scores: float = 0.0
    """Scores that the best detections are chosen from: one for each place and class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredLayer:
    """A layer that was measured on its own."""

    layer: Layer
    seconds: float
    """Median seconds of a call for the batch of the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTable:
    """The layers that were measured on a device, and the factors of everything else."""

    layers: tuple[MeasuredLayer, ...]
    """The measured layers; not empty."""
    lines: Mapping[str, Line]
    """The line through the layers of each kind (`Layer.similar_to`), and through all (`ANY_KIND`).
    """
    factors: Mapping[str, float] = field(default_factory=dict)
    """Seconds per unit of each of `terms`."""

    @property
    def families(self) -> tuple[str, ...]:
        """Families whose detectors it predicts."""
        return tuple(name.removesuffix(_PIXELS) for name in self.factors if _PIXELS in name)

    def seconds(self, workload: Workload) -> float:
        """Return the predicted seconds for one batch."""
        found = self.terms(workload)
        return sum(self.factors.get(name, 0.0) * value for name, value in found.items())

    def terms(self, workload: Workload) -> dict[str, float]:
        """Return the terms that the prediction adds up."""
        return {
            "layers": sum(self.layer_seconds(each) * count for each, count in workload.layers),
            "calls": float(sum(count for _, count in workload.layers)),
            "activations": workload.activations,
            "elements": workload.elements,
            "regions": workload.regions,
            "proposals": workload.proposals,
            "class scores": workload.class_scores,
            workload.family: 1.0,
            workload.family + _PIXELS: workload.pixels,
        }

    def layer_seconds(self, layer: Layer) -> float:
        """Return the seconds of a call of a layer, measured or interpolated."""
        name = layer.similar_to if layer.similar_to in self.lines else ANY_KIND
        line = self.lines[name]
        similar = [each for each in self.layers if name in (ANY_KIND, each.layer.similar_to)]
        distances = [layer.distance(each.layer) for each in similar]
        nearest = min(distances)
        weights = [math.exp(nearest - each) for each in distances]  # the nearest counts in any case
        off = sum(
            weight * math.log(each.seconds / on_line(line, each.layer))
            for weight, each in zip(weights, similar, strict=True)
        )
        # Far from everything that was measured, the line alone is the better guess.
        trust = math.exp(-max(0.0, nearest - _FAR))
        return on_line(line, layer) * math.exp(trust * off / sum(weights))


def on_line(line: Sequence[float], layer: Layer) -> float:
    """Return the seconds that a line has for a layer, at least a picosecond."""
    values = (1.0, layer.macs, layer.numbers)
    found = sum(factor * value for factor, value in zip(line, values, strict=True))
    return max(found, 1e-12)


_PIXELS = " pixels"
