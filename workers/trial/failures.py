"""Maps an error of a trial or a pool's training to its failure cause."""

import traceback

import torch

from detection.iteration import NonFiniteLossError
from searchd import artifacts
from searchd.domain.errors import ArtifactError, CheckpointError, DataError
from searchd.domain.lifecycle import FailureCause

_SHARED_GPU = (
    "the process may use {:g} of the GPU's memory, which is its share of the GPU: give a larger "
    "share (resources.gpus_per_trial, gpus_per_worker of a pool, gpus of a teacher), a smaller "
    "batch_size or smaller resolutions"
)


def cause_and_reason(error: Exception, gpu_memory: float = 1) -> tuple[FailureCause, str]:
    """Return an error's cause and a text for users; the text is the traceback if it is a bug.

    Args:
        error: The error.
        gpu_memory: Share of the memory of a GPU that the process may use.
    """
    cause = _cause(error)
    if cause is FailureCause.BUG:
        return cause, "".join(traceback.format_exception(error))
    reason = artifacts.refusal(error) or f"{type(error).__name__}: {error}"
    if isinstance(error, torch.OutOfMemoryError) and gpu_memory < 1:
        reason = f"{reason.rstrip('.')}; {_SHARED_GPU.format(gpu_memory)}"
    return cause, reason


def damaged_file(error: Exception) -> str:
    """Return the URI of the stored file that an error is about; empty if it is about none."""
    return error.uri if isinstance(error, ArtifactError) else ""


def _cause(error: Exception) -> FailureCause:
    match error:
        case torch.OutOfMemoryError() | MemoryError():
            return FailureCause.OUT_OF_MEMORY
        # A reader was killed: by the system, for its memory, or since /dev/shm is full.
        case RuntimeError() if str(error).startswith("DataLoader worker"):
            return FailureCause.OUT_OF_MEMORY
        case NonFiniteLossError():
            return FailureCause.NON_FINITE_LOSS
        case ArtifactError() | CheckpointError():
            return FailureCause.BAD_CHECKPOINT
        case DataError():
            return FailureCause.DATA_ERROR
        case OSError() if artifacts.refusal(error):
            return FailureCause.STORE_REFUSED
        case _:
            return FailureCause.BUG
