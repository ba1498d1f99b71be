"""A first-in, first-out memory of vectors from earlier batches. G-DetKD section B,
docs/papers.md 3.2."""

import torch
from torch import Tensor, nn


class MemoryQueue(nn.Module):
    """Stores the latest vectors that were pushed, up to its size. No gradient flows to them.

    Its content is not persistent. A resumed training needs it, but a student's child does not: it
    came from an earlier projection, maybe of another teacher, and is large (42 MB by default).
    """

    vectors: Tensor
    """size x channels; the first `num_filled` rows are in use, newest first."""
    num_filled: Tensor
    """Number of stored vectors; a long scalar."""

    def __init__(self, size: int, channels: int) -> None:
        """
        Args:
            size: Largest number of vectors, from 0.
            channels: Channels of a vector.
        """
        super().__init__()
        self.register_buffer("vectors", torch.zeros(size, channels), persistent=False)
        self.register_buffer("num_filled", torch.tensor(0), persistent=False)

    @property
    def filled(self) -> Tensor:
        """The stored vectors, newest first: num_filled x channels."""
        return self.vectors[: int(self.num_filled)]

    def push(self, new: Tensor) -> None:
        """Add vectors in order, and drop the oldest.

        Tensors that `filled` returned before are not changed, since they may be part of a graph.

        Args:
            new: M x channels.
        """
        size = len(self.vectors)
        newest_first = new.detach().flip(0)[:size]
        self.vectors = torch.cat([newest_first, self.vectors[: size - len(newest_first)]])
        self.num_filled = (self.num_filled + len(newest_first)).clamp(max=size)
