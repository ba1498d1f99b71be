"""Counts multiply-accumulates and parameters of a detector, in the papers' convention
(docs/papers.md 0.4).

The real module runs once on torch's meta device, which computes shapes and no numbers, and the cost
of every operator that it calls is added up:

    convolution, linear    multiply-accumulates; a convolution's bias one per output element, a
                           linear layer's bias once per layer and not per proposal
    batch and group norm   2 per output element
    ReLU, ReLU6            1 per element
    max-pooling            its input's elements; P6, a 1x1 pooling, is free
    deformable convolution its convolution and the one that computes its offsets and mask, if any
    matrix product         multiply-accumulates: attention, which the papers do not count
    layer norm, GELU       as batch norm and as ReLU

RoIAlign, upsampling, sampling at offsets, additions, sigmoid, softmax and NMS are not counted, and
the input is not padded. This reproduces the published figures within 0.15 % (docs/papers.md 1.11).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d, ModulatedDeformConv2dPack
from mmdet.models import BaseDetector, TOODHead, TwoStageDetector
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from detection.build import assemble
from detection.distillation.taps import bbox_forward
from detection.eval_mode import eval_mode
from searchd.domain.architecture import NUM_STAGES, Architecture
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution

ROI_SIZE = 7
"""Height and width of RoIAlign's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """The cost of one image."""

    macs: float
    """Multiply-accumulates of the whole detector."""
    backbone_macs: float
    """Multiply-accumulates of the backbone, stem included."""
    params: int
    """Parameters of the whole detector, BN weights and biases included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneComplexity:
    """The cost of one image in each part of a backbone."""

    stem_macs: float
    """Multiply-accumulates of the stem."""
    stage_macs: tuple[float, ...]
    """Multiply-accumulates of the 4 stages."""
    params: int
    """Parameters of the backbone."""


def count(detector: Detector, resolution: Resolution) -> Complexity:
    """Count one forward pass at batch size 1 with an input of exactly this resolution.

    Two-stage: the RPN runs on P2..P6, and the RoI head on `detector.num_proposals` proposals; in a
    cascade all three heads do. A mask head counts as parameters only, since how often it runs is
    the number of detections. One-stage: the head runs on P3..P7.
    """
    # In inference mode operators are dispatched whole (conv2d, batch_norm), not in parts.
    with torch.device("meta"), torch.inference_mode():
        model = assemble(detector).eval()
        _run_deformable_as_convolutions(model)
        image = torch.empty(1, 3, resolution.height, resolution.width)
        with _Counter() as backbone:
            features = model.backbone(image)
        with _Counter() as rest:
            _run_heads(model, detector, model.neck(features))
    return Complexity(
        macs=float(backbone.macs + rest.macs),
        backbone_macs=float(backbone.macs),
        params=sum(parameter.numel() for parameter in model.parameters()),
    )


def dry_run(detector: Detector, resolution: Resolution, mode: TorchDispatchMode) -> int:
    """Run one forward pass as `count` does, on the meta device, while a mode sees every operator.

    Args:
        detector: The detector.
        resolution: The exact resolution of the input.
        mode: Sees the operators.

    Returns:
        How many class scores the heads compute, over all places and classes.
    """
    with torch.device("meta"), torch.inference_mode():
        model = assemble(detector).eval()
        _run_deformable_as_convolutions(model)
        image = torch.empty(1, 3, resolution.height, resolution.width)
        with mode:
            scores = _run_heads(model, detector, model.neck(model.backbone(image)))
    return sum(each.numel() for each in scores)


@torch.inference_mode()
def count_model(model: BaseDetector, resolution: Resolution) -> Complexity:
    """Count mmdet's own detector like `count`, but in a real forward pass, since parts of some
    detectors cannot run on the meta device.

    The head is the dense head, or the RPN with the RoI box heads on the number of proposals that
    the model uses at test time. Other parts, such as a mask head, count as parameters only.

    Args:
        model: A one-stage or two-stage detector on any device. Its mode is the same afterwards.
        resolution: The exact resolution of the input.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, resolution.height, resolution.width, device=device)
    with eval_mode(model), _Counter() as backbone, backbone.of_deformable(model):
        stages = model.backbone(image)
    with eval_mode(model), _Counter() as rest, rest.of_deformable(model):
        levels = model.neck(stages) if model.with_neck else stages
        _run_any_heads(model, levels, resolution)
    return Complexity(
        macs=float(backbone.macs + rest.macs),
        backbone_macs=float(backbone.macs),
        params=sum(parameter.numel() for parameter in model.parameters()),
    )


def count_backbone(architecture: Architecture, resolution: Resolution) -> BackboneComplexity:
    """Count each part of the backbone, like `count`.

    The parts add up to `Complexity.backbone_macs`.
    """
    with torch.device("meta"), torch.inference_mode(), _Counter() as counter:
        model = assemble(Detector(architecture=architecture)).eval()
        _run_deformable_as_convolutions(model)
        backbone = model.backbone
        ends: list[int] = []  # the counter's value after each part
        for name in ("stem_end", *(f"layer{i}" for i in range(1, NUM_STAGES + 1))):
            part = backbone.get_submodule(name)
            part.register_forward_hook(lambda *_: ends.append(counter.macs))
        backbone(torch.empty(1, 3, resolution.height, resolution.width))
    stem, *stages = (float(end - start) for start, end in pairwise([0, *ends]))
    return BackboneComplexity(
        stem_macs=stem,
        stage_macs=tuple(stages),
        params=sum(parameter.numel() for parameter in backbone.parameters()),
    )


def _run_deformable_as_convolutions(model: BaseDetector) -> None:
    """Replace mmcv's operators, which do not support the meta device and would not be counted."""
    for module in model.modules():
        if isinstance(module, ModulatedDeformConv2dPack):
            module.to("meta")  # mmcv creates its weight on the CPU, whatever the default device
            module.forward = partial(_offsets_and_convolution, module)
        elif isinstance(module, DeformConv2d):
            module.to("meta")
            module.forward = partial(_sampled_convolution, module)
        elif isinstance(module, TOODHead):
            module.deform_sampling = _sampled


def _offsets_and_convolution(conv: ModulatedDeformConv2dPack, x: Tensor) -> Tensor:
    conv.conv_offset(x)
    return functional.conv2d(x, conv.weight, None, conv.stride, conv.padding, groups=conv.groups)


def _sampled_convolution(conv: DeformConv2d, x: Tensor, _offsets: Tensor) -> Tensor:
    """Return the shape of VFNet's convolution of what it samples, at k * k places for each cell."""
    sampled = x.new_empty(len(x), conv.weight[0].numel(), *x.shape[2:])
    return functional.conv2d(sampled, conv.weight.flatten(1)[:, :, None, None])


def _sampled(x: Tensor, _offsets: Tensor) -> Tensor:
    """Return the shape of what TOOD samples."""
    return torch.empty_like(x)


def _run_heads(
    model: BaseDetector, detector: Detector, levels: tuple[Tensor, ...]
) -> Sequence[Tensor]:
    """Return the class scores, of each level of a one-stage detector or of each RoI head."""
    if not detector.family.two_stage:
        return cast(Sequence[Tensor], model.bbox_head(levels)[0])
    model.rpn_head(levels)
    proposals = torch.empty(detector.num_proposals, detector.neck_channels, ROI_SIZE, ROI_SIZE)
    heads = model.roi_head.bbox_head
    heads = heads if isinstance(heads, nn.ModuleList) else [heads]
    return [head(proposals)[0] for head in heads]


def _run_any_heads(model: BaseDetector, levels: Sequence[Tensor], resolution: Resolution) -> None:
    if not isinstance(model, TwoStageDetector):
        model.bbox_head(levels)
        return
    model.rpn_head(levels)
    full_image = levels[0].new_tensor([0.0, 0.0, 0.0, resolution.width, resolution.height])
    rois = full_image.expand(model.test_cfg.rpn.max_per_img, 5).contiguous()
    heads = model.roi_head.bbox_head
    for stage in range(len(heads) if isinstance(heads, nn.ModuleList) else 1):
        bbox_forward(model.roi_head, levels, rois, stage=stage)


class _Counter(TorchDispatchMode):
    """Adds up the cost of every operator that is called while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    @contextmanager
    def of_deformable(self, model: nn.Module) -> Iterator[None]:
        """Count mmcv's deformable convolutions too, which are not operators of torch."""

        def add(conv: Any, _args: Any, out: Tensor) -> None:
            self.macs += out.numel() * conv.weight[0].numel()

        kinds = (DeformConv2d, ModulatedDeformConv2d)
        hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, kinds)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        cost = _COSTS.get(func.overloadpacket)
        if cost is not None:
            self.macs += cost(args, out[0] if isinstance(out, tuple) else out)
        return out


def _convolution(args: tuple[Any, ...], out: Tensor) -> int:
    weight = args[1]  # C_out x C_in/groups x k x k
    has_bias = len(args) > 2 and args[2] is not None  # trailing defaults are not passed
    return out.numel() * (weight[0].numel() + has_bias)


def _linear(args: tuple[Any, ...], out: Tensor) -> int:
    weight = args[1]  # C_out x C_in
    bias = args[2] if len(args) > 2 else None  # trailing defaults are not passed
    return out.numel() * weight.shape[1] + (0 if bias is None else bias.numel())


def _matrix_product(args: tuple[Any, ...], out: Tensor) -> int:
    return out.numel() * args[0].shape[-1]


def _norm(args: tuple[Any, ...], out: Tensor) -> int:
    del args
    return 2 * out.numel()


def _relu(args: tuple[Any, ...], out: Tensor) -> int:
    del args
    return out.numel()


def _max_pool(args: tuple[Any, ...], out: Tensor) -> int:
    del out
    x, kernel_size = args[:2]
    return 0 if list(kernel_size) == [1, 1] else x.numel()


_aten = torch.ops.aten
_COSTS: dict[Any, Callable[[tuple[Any, ...], Tensor], int]] = {
    _aten.conv2d: _convolution,
    _aten.linear: _linear,
    _aten.matmul: _matrix_product,
    _aten.bmm: _matrix_product,
    _aten.batch_norm: _norm,
    _aten.group_norm: _norm,
    _aten.layer_norm: _norm,
    _aten.relu: _relu,
    _aten.relu_: _relu,
    _aten.relu6: _relu,
    _aten.relu6_: _relu,
    _aten.hardtanh: _relu,
    _aten.hardtanh_: _relu,
    _aten.gelu: _relu,
    _aten.max_pool2d: _max_pool,
}
