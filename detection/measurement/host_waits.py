"""Counts the operations of a step that make the CPU wait for a GPU, on any device.

A value that the CPU reads, a tensor whose size depends on values, and a copy from or to memory that
is not pinned: at each of them the CPU waits until the GPU has done all that was asked of it, and
the GPU then idles until it is asked for more. They are recognised by operator and arguments, so a
CPU is enough to count them; on a GPU, `torch.cuda.set_sync_debug_mode` finds the same.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_SITE = str(Path(torch.__file__).parents[1]) + "/"
_ROOT = str(Path(__file__).parents[2]) + "/"

_OPERATORS = {
    "_local_scalar_dense": "item",
    "nonzero": "nonzero",
    "masked_select": "masked_select",
    "_unique2": "unique",
    "unique_dim": "unique",
    "unique_consecutive": "unique",
    "bincount": "bincount",
}
"""Operators of aten that wait, by name."""
_FUNCTIONS = {"tolist": "copy to the host", "cpu": "copy to the host", "numpy": "copy to the host"}
"""Methods of tensors that wait and are no operator of aten on a CPU."""
_HOST_ONLY = (
    "torch/optim/",
    "mmengine/model/averaged_model.py",
    "mmengine/model/utils.py",
    "mmdet/datasets/",
)
"""What works on counters, shapes and images, which are on the CPU, with all that it calls."""


class Wait(NamedTuple):
    """A kind of wait."""

    operation: str
    place: str
    """File below the project or the package's folder, line, and function."""


@contextmanager
def counted_waits() -> Iterator[Counter[Wait]]:
    """Count the waits inside the context, by kind; the count grows while it is entered."""
    found: Counter[Wait] = Counter()
    with _Functions(found), _Operators(found):
        yield found


class _Operators(TorchDispatchMode):
    """Sees every operator, backward passes included."""

    def __init__(self, found: Counter[Wait]) -> None:
        super().__init__()
        self._found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        operation = _waiting_operation(func, args, kwargs or {})
        if operation:
            _count(self._found, operation)
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    """Sees every call of torch's Python interface."""

    def __init__(self, found: Counter[Wait]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        name, given = getattr(func, "__name__", ""), kwargs or {}
        if name in _FUNCTIONS:
            _count(self._found, _FUNCTIONS[name])
        elif _copies_to_device(name, args, given):
            _count(self._found, "copy to the device")
        return func(*args, **given)


def _waiting_operation(func: Any, args: Any, kwargs: Any) -> str:
    """Return the name of the operation if an operator waits, else an empty text."""
    name = func.overloadpacket.__name__
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        masks = [each for each in args[1] if each is not None and _is_mask(each)]
        fills = name != "index" and args[2].numel() == 1 and args[2].ndim == 0  # `masked_fill`
        return "boolean index" if masks and not fills else ""
    if name == "repeat_interleave":
        return "" if kwargs.get("output_size") is not None else "repeat_interleave"
    return _OPERATORS.get(name, "")


def _is_mask(index: Tensor) -> bool:
    return index.dtype in (torch.bool, torch.uint8)


def _copies_to_device(name: str, args: Any, kwargs: Any) -> bool:
    """Return whether a tensor is made from numbers of Python on the device of other tensors."""
    if name == "new_tensor":
        return True
    made = name in ("tensor", "as_tensor") and not isinstance(args[0], Tensor)
    return made and kwargs.get("device") is not None


def _count(found: Counter[Wait], operation: str) -> None:
    places = list(_places())
    if not any(place.startswith(_HOST_ONLY) for place in places):
        outside = (place for place in places if not place.startswith("torch/"))
        found[Wait(operation, next(outside, places[0]))] += 1


def _places() -> Iterator[str]:
    """Yield the places that led here, the innermost first."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            file = frame.f_code.co_filename.removeprefix(_SITE).removeprefix(_ROOT)
            yield f"{file}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
