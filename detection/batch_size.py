"""Finds the batch size of a training by memory.

On a GPU real steps of 1, 2, 4, ... images are tried. On a CPU, where a process that takes too much
is killed without a warning, the memory of a larger batch is estimated from one small step.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

USED_SHARE = 0.9
"""Share of the memory that a training may use."""
MAX_ON_GPU = 64
MAX_ON_CPU = 8
MIN_ITERATIONS = 16
"""Smallest number of iterations of an epoch, if it has as many images: with too large a batch, a
small data set would be trained for a few steps only."""
BYTES_PER_SAVED_BYTE = 2
"""Memory of a step on a CPU, divided by that of the activations that wait for the backward pass:
gradients and workspaces take about as much again."""
PROBED_IMAGES = 2
"""Images of the step from which the memory on a CPU is estimated."""
_LIMIT, _USAGE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")

Probe = Callable[[int], None]
"""Computes a step's gradients for a number of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundBatchSize:
    """A batch size that was found by memory."""

    number: int
    """Images per step and device."""
    reason: str
    """Why it is this number, as text."""


def find_batch_size(
    probe: Probe,
    parameters: Iterable[nn.Parameter],
    device: torch.device | str,
    *,
    num_images: int,
    optimizer_bytes: int,
) -> FoundBatchSize:
    """Return the largest batch size that fits into the memory.

    Args:
        probe: Computes a step's gradients for a number of images, the largest that there are.
        parameters: Parameters of the model, which are in memory already.
        device: Device of the model.
        num_images: Images of an epoch on this device.
        optimizer_bytes: Memory that the optimizer needs from its first step on.

    Raises:
        torch.OutOfMemoryError: Not even one image fits.
    """
    on_gpu = torch.device(device).type == "cuda"
    most = max(1, min(MAX_ON_GPU if on_gpu else MAX_ON_CPU, num_images // MIN_ITERATIONS))
    if on_gpu:
        return _tried(probe, torch.device(device), most, optimizer_bytes)
    return _estimated(probe, parameters, most, optimizer_bytes)


def _tried(probe: Probe, device: torch.device, most: int, optimizer_bytes: int) -> FoundBatchSize:
    number, largest = 1, _step_bytes(probe, 1, device)
    limit = _limit_on_gpu(device) - optimizer_bytes
    while 2 * number <= most:
        try:
            needed = _step_bytes(probe, 2 * number, device)
        except torch.OutOfMemoryError:
            break
        if needed > limit:
            break
        number, largest = 2 * number, needed
    torch.cuda.empty_cache()
    return FoundBatchSize(
        number=number,
        reason=(
            f"a step of {number} images needs {_in_words(largest + optimizer_bytes)} of "
            f"{_in_words(limit + optimizer_bytes)}{_at_most(number, most)}"
        ),
    )


def _step_bytes(probe: Probe, num_images: int, device: torch.device) -> int:
    """Return the memory that a step takes beyond what is in use before."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    probe(num_images)
    return torch.cuda.max_memory_reserved(device) - before


def _limit_on_gpu(device: torch.device) -> int:
    """Return the memory that a step may take beyond what is in use, of that of this process."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    allowed = torch.cuda.get_per_process_memory_fraction(device) * total
    left = min(free, allowed - torch.cuda.memory_reserved(device))
    return int(left - (1 - USED_SHARE) * allowed)


def _estimated(
    probe: Probe, parameters: Iterable[nn.Parameter], most: int, optimizer_bytes: int
) -> FoundBatchSize:
    in_use = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    saved = _saved_bytes(lambda: probe(PROBED_IMAGES), in_use)
    per_image = max(1, BYTES_PER_SAVED_BYTE * saved // PROBED_IMAGES)
    limit = int(USED_SHARE * available_bytes()) - optimizer_bytes
    number = max(1, min(most, limit // per_image))
    return FoundBatchSize(
        number=number,
        reason=(
            f"an image is estimated to need {_in_words(per_image)} of {_in_words(max(0, limit))}"
            f"{_at_most(number, most)}"
        ),
    )


def _saved_bytes(step: Callable[[], None], in_use: set[int]) -> int:
    """Return the bytes of the tensors that a step keeps for its backward pass."""
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in in_use:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(seen.values())


def available_bytes() -> int:
    """Return the memory of the machine or container that is free, in the share of this process:
    that of its threads among all CPUs, since other trials may run beside it."""
    free = psutil.virtual_memory().available
    if _LIMIT.exists() and (limit := _LIMIT.read_text().strip()) != "max":
        free = min(free, int(limit) - int(_USAGE.read_text()))
    share = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
    return int(free * share)


def _at_most(number: int, most: int) -> str:
    return (
        f"; more than {most} is not used for this data set on this device" if number == most else ""
    )


def _in_words(num_bytes: int) -> str:
    mebibytes = num_bytes / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 1024 else f"{mebibytes / 1024:.1f} GiB"
