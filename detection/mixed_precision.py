"""Mixed precision: backbone, neck and heads compute in 16 bits, all else in 32.

Losses, box coding, sampling, RoIAlign, NMS and distillation need the precision of 32 bits (a
coordinate of 1333 in bf16 is off by up to 4 pixels), and cost little. So autocast surrounds the
forward passes of the networks alone, and their outputs are converted back.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from searchd.domain.errors import SearchdError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
MIN_SCALE = 1.0
"""Smallest scale of the loss. Below it, gradients are infinite for another reason than fp16."""

Amp = Literal["off", "bf16", "fp16"]


class PrecisionError(SearchdError):
    """The device has no such precision."""


class MixedPrecision:
    """The precision of a training, with the scale of the loss that fp16 needs."""

    def __init__(self, amp: Amp, device: torch.device | str) -> None:
        """
        Raises:
            PrecisionError: fp16 on a CPU.
        """
        self._device = torch.device(device).type
        self._dtype = DTYPES.get(amp)
        if amp == "fp16" and self._device == "cpu":
            raise PrecisionError("amp: fp16 needs a GPU; use bf16, which CPUs have too, or off")
        self._scaler = torch.amp.GradScaler(self._device, enabled=amp == "fp16")

    @property
    def may_skip_steps(self) -> bool:
        """Whether a step with an infinite gradient is skipped and its scale lowered, instead of
        being an error."""
        return self._scaler.is_enabled() and self._scaler.get_scale() > MIN_SCALE

    @contextmanager
    def networks(self, models: Iterable[Any]) -> Iterator[None]:
        """Inside the context, the networks of mmdet detectors compute in 16 bits."""
        with ExitStack() as stack:
            if self._dtype is not None:
                for model in models:
                    for module in _networks(model):
                        stack.enter_context(_replaced_forward(module, self._low(module.forward)))
                    for module in _full_precision_modules(model):
                        stack.enter_context(_replaced_forward(module, self._full(module.forward)))
                    for module in _strided_convs(model) if self._device == "cpu" else ():
                        stack.enter_context(_replaced_forward(module, self._wide(module.forward)))
            yield

    def backward(self, loss: torch.Tensor) -> None:
        """Compute gradients; with fp16, those of the scaled loss."""
        self._scaler.scale(loss).backward()

    def unscale(self, optimizers: Iterable[Optimizer]) -> None:
        """Divide the gradients by the scale."""
        for optimizer in optimizers:
            self._scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """Take a step, unless a gradient is infinite with fp16."""
        self._scaler.step(optimizer)

    def update(self) -> None:
        """Adapt the scale after all optimizers had their step."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the scale; empty unless the precision is fp16."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state of a precision of the same kind."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)

    def _low(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def in_low_precision(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self._device, dtype=self._dtype):
                return _as_float(forward(*args, **kwargs))

        return in_low_precision

    def _full(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def in_full_precision(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(self._device, enabled=False):
                return forward(*_as_float(args), **_as_float(kwargs))

        return in_full_precision

    def _wide(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Compute a convolution of maps that are one cell wide in full precision: on CPUs with AMX,
        torch 2.13 reads memory that nobody wrote when it computes the gradient of a strided one."""
        full = self._full(forward)

        def in_full_precision_if_narrow(x: torch.Tensor) -> Any:
            return full(x) if x.shape[-1] == 1 else forward(x)

        return in_full_precision_if_narrow


def _networks(model: Any) -> list[nn.Module]:
    """Return the modules of a detector that hold nearly all of its computation."""
    roi_head = getattr(model, "roi_head", None)
    found = [getattr(model, name, None) for name in ("backbone", "neck", "rpn_head", "bbox_head")]
    found += [getattr(roi_head, name, None) for name in ("shared_head", "bbox_head", "mask_head")]
    heads: list[nn.Module] = []
    for module in found:
        heads += module if isinstance(module, nn.ModuleList) else [module] if module else []
    return heads


def _full_precision_modules(model: nn.Module) -> list[nn.Module]:
    """Return the modules with operators of mmcv, such as deformable convolutions, not all of which
    have bf16, and those that compute the places at which TOOD reads its boxes by such an
    operator."""
    return [
        module
        for name, module in model.named_modules()
        if _is_of_mmcv_ops(module) or name.endswith("reg_offset_module")
    ]


def _strided_convs(model: nn.Module) -> list[nn.Module]:
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return [conv for conv in convs if max(conv.stride) > 1 and not _is_of_mmcv_ops(conv)]


def _is_of_mmcv_ops(module: nn.Module) -> bool:
    return type(module).__module__.startswith("mmcv.ops")


@contextmanager
def _replaced_forward(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    replaced = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        del module.forward  # so that the class's method is found again
        if replaced is not None:
            module.forward = replaced


def _as_float(value: Any) -> Any:
    """Convert 16-bit tensors in nested tuples, lists and dictionaries to 32 bits."""
    match value:
        case torch.Tensor() if value.dtype in DTYPES.values():
            return value.float()
        case tuple() | list():
            return type(value)(_as_float(each) for each in value)
        case dict():
            return {key: _as_float(each) for key, each in value.items()}
        case _:
            return value
