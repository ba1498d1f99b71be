"""Adapters that map a student's features to a teacher's, and serve elastic ones too."""

from torch import Tensor, nn
from torch.nn import functional


class ChannelAdapter(nn.Conv2d):
    """A convolution with bias and "same" padding, of which narrower sides use the leading part.

    A student that is narrower than the adapter uses its leading inputs, a narrower teacher its
    leading outputs: one adapter serves all teachers of a lineage, and elastic students.
    """

    def __init__(self, student_channels: int, teacher_channels: int, kernel_size: int) -> None:
        """
        Args:
            student_channels: The widest input.
            teacher_channels: The widest output.
            kernel_size: Odd.
        """
        super().__init__(student_channels, teacher_channels, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor, out_channels: int | None = None) -> Tensor:
        """N x C_in x H x W -> N x out_channels (default: all) x H x W."""
        outputs = self.out_channels if out_channels is None else out_channels
        assert self.bias is not None  # the default
        return functional.conv2d(
            x, self.weight[:outputs, : x.shape[1]], self.bias[:outputs], padding=self.padding
        )
