"""Threads, seeds, devices and memory of torch in a worker's process, and how it logs."""

import torch

from searchd import logs
from searchd.domain.errors import InvalidValueError
from searchd.messages.tasks import ComputeSettings


def configure_torch(task: ComputeSettings, *, seed: int | None = None) -> None:
    """Set the number of threads and the memory of the GPU that a task may use and how the process
    logs, and seed torch's global generator.

    Args:
        task: The task that this process is about to do.
        seed: Seed of the generator; None leaves it alone.
    """
    torch.set_num_threads(task.num_threads)
    if task.device == "cuda":
        torch.cuda.set_per_process_memory_fraction(float(task.gpu_memory))
    logs.follow(task.log_format, task.log_ids)
    if seed is not None:
        torch.manual_seed(seed)


def check_device(device: str) -> None:
    """Check that torch can use a device.

    Raises:
        InvalidValueError: It is cuda, and torch finds no GPU.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidValueError("device=cuda needs a GPU that torch can use; see searchd doctor")
