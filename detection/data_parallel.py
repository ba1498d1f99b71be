"""Whether this process is one of several that train data-parallel."""

from torch import distributed


def is_distributed() -> bool:
    """Return whether this process belongs to a torch.distributed group."""
    return distributed.is_available() and distributed.is_initialized()
