"""Adapters that map a student's features to a teacher's, elastic detectors included."""

from torch import Tensor, nn
from torch.nn import functional


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
