"""Maps an error of a trial or a pool's training to its failure cause."""

import traceback

import torch

from detection.iteration import NonFiniteLossError
from searchd import artifacts
from searchd.domain.errors import ArtifactError, CheckpointError, DataError
from searchd.domain.lifecycle import FailureCause


def cause_and_reason(error: Exception) -> tuple[FailureCause, str]:
    """Return an error's cause and a text for users; the text is the traceback if it is a bug."""
    cause = _cause(error)
    if cause is FailureCause.BUG:
        return cause, "".join(traceback.format_exception(error))
    return cause, artifacts.refusal(error) or f"{type(error).__name__}: {error}"


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
