"""Adapters that map a student's features to a teacher's, elastic detectors included."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.least_squares import LinearMap


class ChannelAdapter(nn.Conv2d):
    """A convolution with bias and "same" padding, whose leading channels can be used alone.

    A student that is narrower than the adapter uses its leading inputs, and a narrower teacher its
    leading outputs. So one adapter serves all teachers of a lineage, and elastic students.
    """

    def __init__(self, student_channels: int, teacher_channels: int, kernel_size: int) -> None:
        """
        Args:
            student_channels: Channels of the widest input.
            teacher_channels: Channels of the widest output.
            kernel_size: Height and width of the kernel; odd.
        """
        super().__init__(student_channels, teacher_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, out_channels: int | None = None) -> Tensor:
        """N x C_in x H x W -> N x out_channels (default: all) x H x W."""
        outputs = self.out_channels if out_channels is None else out_channels
        assert self.bias is not None  # the default
        return functional.conv2d(
            x, self.weight[:outputs, : x.shape[1]], self.bias[:outputs], padding=self.padding
        )

    @property
    def centre(self) -> Tensor:
        """The centre tap of the kernel, teacher's x student's channels."""
        middle = self.kernel_size[0] // 2
        return self.weight[:, :, middle, middle]

    @torch.no_grad()
    def start(self, fitted: LinearMap, first: int = 0) -> None:
        """Take a linear map of I inputs and O outputs as centre tap, and zeros as other taps.

        Args:
            fitted: The map of the student's channels to the leading channels of the teacher.
            first: Number of leading outputs that are not changed. With 0, the outputs that the map
                does not have become 0, and are thereby marked as unused.
        """
        assert self.bias is not None  # the default
        changed = slice(first, len(fitted.bias) if first else None)
        self.weight[changed], self.bias[changed] = 0, 0
        outputs = slice(first, len(fitted.bias))
        self.centre[outputs] = fitted.weight.T[outputs].to(self.weight)
        self.bias[outputs] = fitted.bias[outputs].to(self.bias)

    def num_used(self) -> int:
        """Return the number of leading outputs up to the last one with a weight or bias."""
        assert self.bias is not None  # the default
        used = self.weight.detach().flatten(1).any(dim=1) | (self.bias.detach() != 0)
        return int(used.nonzero().max()) + 1 if used.any() else 0
