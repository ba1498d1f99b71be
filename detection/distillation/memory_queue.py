"""A first-in, first-out memory of vectors from earlier batches. G-DetKD section B,
docs/papers.md 3.2."""

import torch
from torch import Tensor, nn


class MemoryQueue(nn.Module):
    """Keeps the last vectors that were pushed, up to its size. No gradient flows to them.

    Its content is a buffer that a resumed training needs and a student's child does not: it came
    from an earlier projection, maybe of another teacher, and is large (42 MB by default). So it is
    not persistent.
    """

    vectors: Tensor
    """size x channels; the first `num_filled` are in use, the newest in front."""
    num_filled: Tensor
    """Long, a scalar."""

    def __init__(self, size: int, channels: int) -> None:
        """
        Args:
            size: How many vectors to keep; 0 for none.
            channels: Of each.
        """
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, channels), persistent=False)
        self.register_buffer("num_filled", torch.tensor(0), persistent=False)

    @property
    def filled(self) -> Tensor:
        """Newest first; at most size x channels."""
        return self.vectors[: int(self.num_filled)]

    def push(self, new: Tensor) -> None:
        """Add vectors, in order; the oldest leave.

        What `filled` gave before stays as it was: it may be part of a graph.

        Args:
            new: M x channels.
        """
        size = len(self.vectors)
        newest_first = new.detach().flip(0)[:size]
        self.vectors = torch.cat([newest_first, self.vectors[: size - len(newest_first)]])
        self.num_filled = (self.num_filled + len(newest_first)).clamp(max=size)
