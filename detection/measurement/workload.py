"""Lists what a detector computes for one image: its layers with their sizes, and the rest in sums.

A latency table (`searchd.domain.latency_table`) predicts from it. Nothing is computed: the model
runs on torch's meta device, as for counting.
"""

from collections import Counter
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from detection.families import SIZE_DIVISOR
from detection.measurement.complexity import ROI_SIZE, dry_run
from searchd.domain.detector import Detector, Family
from searchd.domain.latency_table import Layer, LayerKind, Workload
from searchd.domain.resolution import Resolution

_ROI_HEADS = {
    Family.FASTER_RCNN: 1,
    Family.MASK_RCNN: 1,
    Family.CASCADE_RCNN: 3,
    Family.CASCADE_MASK_RCNN: 3,
}
"""How often a family pools regions of proposals."""


def workload_of(detector: Detector, resolution: Resolution) -> Workload:
    """Return what a detector computes for an image of this size, padded as the detector pads it."""
    sides = (resolution.width, resolution.height)
    padded = Resolution(*(SIZE_DIVISOR * -(-side // SIZE_DIVISOR) for side in sides))
    recorder = _Recorder()
    class_scores = dry_run(detector, padded, recorder)
    proposals = _ROI_HEADS.get(detector.family, 0) * detector.num_proposals
    return Workload(
        family=detector.family,
        pixels=float(padded.area),
        layers=tuple(sorted(recorder.layers.items())),
        activations=float(recorder.activations),
        elements=float(recorder.elements),
        regions=float(proposals * detector.neck_channels * ROI_SIZE**2),
        proposals=float(proposals),
        class_scores=float(class_scores),
    )


class _Recorder(TorchDispatchMode):
    """Records every operator that is called while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: Counter[Layer] = Counter()
        self.activations = 0
        self.elements = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        result = out[0] if isinstance(out, tuple) else out
        if func.overloadpacket is _aten.conv2d:
            self.layers[_convolution(args, result)] += 1
        elif func.overloadpacket in (_aten.linear, _aten.matmul, _aten.bmm):
            self.layers[_linear(args, result)] += 1
        elif func.overloadpacket in _ACTIVATIONS:
            self.activations += result.numel()
        elif isinstance(result, Tensor) and not func.is_view:
            self.elements += result.numel()
        return out


def _convolution(args: tuple[Any, ...], out: Tensor) -> Layer:
    image, weight = args[:2]  # 1 x C_in x H x W, C_out x C_in/groups x k x k
    return Layer(
        inputs=image.shape[1],
        outputs=weight.shape[0],
        kernel=weight.shape[-1],
        stride=round(image.shape[-1] / out.shape[-1]),
        groups=image.shape[1] // weight.shape[1],
        height=out.shape[-2],
        width=out.shape[-1],
    )


def _linear(args: tuple[Any, ...], out: Tensor) -> Layer:
    return Layer(
        kind=LayerKind.LINEAR,
        inputs=args[0].shape[-1],
        outputs=out.shape[-1],
        height=prod(out.shape[:-1]),
    )


_aten = torch.ops.aten
_ACTIVATIONS = {
    _aten.batch_norm,
    _aten.group_norm,
    _aten.layer_norm,
    _aten.relu,
    _aten.relu_,
    _aten.relu6,
    _aten.relu6_,
    _aten.hardtanh,
    _aten.hardtanh_,
    _aten.gelu,
}
