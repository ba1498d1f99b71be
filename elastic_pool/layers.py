"""Layers whose leading channels can be used alone, so that one weight tensor serves every width.

Once-for-all (OFA) slicing, docs/papers.md 1.7: the input's shape sets the number of input channels,
an attribute the number of output channels. These layers know nothing of detectors.

Shapes: N images, C channels, H x W positions.
"""

from itertools import islice
from typing import Any, Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from detection.data_parallel import is_distributed

_LOW_PRECISION = (torch.bfloat16, torch.float16)
"""Formats in which sums over a batch would lose most digits."""


class ElasticConv2d(nn.Conv2d):
    """A convolution (ungrouped) that reads and writes leading channels only."""

    active_out_channels: int
    """Number of output channels that are computed."""

    @classmethod
    def of(cls, conv: nn.Conv2d) -> Self:
        """Make an elastic convolution with the parameters of `conv` and all channels active."""
        assert conv.groups == 1, "grouped convolutions cannot be sliced to their leading channels"
        elastic = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type] # torch declares tuple[int, ...]
            stride=conv.stride,  # type: ignore[arg-type] # as above
            padding=conv.padding,  # type: ignore[arg-type] # as above
            bias=conv.bias is not None,
            device="meta",
        )
        elastic.weight, elastic.bias = conv.weight, conv.bias
        elastic.active_out_channels = conv.out_channels
        return elastic

    def forward(self, x: Tensor) -> Tensor:
        """N x C_in' x H x W -> N x C_out' x H' x W', with C' at most the layer's channels."""
        out = self.active_out_channels
        bias = self.bias if self.bias is None else self.bias[:out]
        return F.conv2d(x, self.weight[:out, : x.shape[1]], bias, self.stride, self.padding)


class ElasticLinear(nn.Linear):
    """A linear layer that reads leading inputs only and computes every output."""

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """Make an elastic layer with the parameters of `linear`, which are not copied."""
        elastic = cls(linear.in_features, linear.out_features, device="meta")
        elastic.weight, elastic.bias = linear.weight, linear.bias
        return elastic

    def forward(self, x: Tensor) -> Tensor:
        """... x C_in' -> ... x C_out."""
        return F.linear(x, self.weight[:, : x.shape[-1]], self.bias)


class ElasticBatchNorm2d(nn.BatchNorm2d):
    """A BN with one affine transform for all widths.

    While training it normalises with the batch's statistics, taken over all data-parallel workers
    if there are several (SyncBN, docs/papers.md 1.7; decision 44), in 32 bits at least. Running
    statistics are updated only when all channels are used: a narrower subnet has other ones, which
    `elastic_pool.bn_reset` recomputes.
    """

    @classmethod
    def of(cls, bn: nn.BatchNorm2d) -> Self:
        """Make an elastic BN with the parameters and statistics of `bn`, which are not copied."""
        elastic = cls(bn.num_features, eps=bn.eps, momentum=bn.momentum, device="meta")
        elastic.weight, elastic.bias = bn.weight, bn.bias
        for name, buffer in bn.named_buffers():
            setattr(elastic, name, buffer)
        return elastic

    def forward(self, x: Tensor) -> Tensor:
        """N x C' x H x W -> the same shape."""
        channels = x.shape[1]
        weight, bias = self.weight[:channels], self.bias[:channels]
        if self.training and _num_workers() > 1:
            wide = x.float() if x.dtype in _LOW_PRECISION else x
            return self._forward_synchronised(wide, weight, bias).to(x.dtype)
        if self.training and channels < self.num_features:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        mean, var = self.running_mean, self.running_var
        assert mean is not None
        assert var is not None
        assert self.momentum is not None
        return F.batch_norm(
            x, mean[:channels], var[:channels], weight, bias, self.training, self.momentum, self.eps
        )

    def _forward_synchronised(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = torch.cat([x.sum((0, 2, 3)), x.square().sum((0, 2, 3)), count])
        total, total_square, count = _AllReduceSum.apply(sums).split([len(weight), len(weight), 1])
        mean = total / count
        var = (total_square / count - mean.square()).clamp(min=0)
        if len(weight) == self.num_features:
            self._update_statistics(mean.detach(), var.detach() * count / (count - 1))
        scale = weight * (var + self.eps).rsqrt()
        return x * scale[:, None, None] + (bias - mean * scale)[:, None, None]

    def _update_statistics(self, mean: Tensor, var: Tensor) -> None:
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr] # always tracked
        self.running_var.lerp_(var, self.momentum)  # type: ignore[union-attr] # always tracked


class ElasticStage(nn.Sequential):
    """A sequence of blocks that runs only the first `active_depth` of them."""

    active_depth: int
    """Number of blocks that are run."""

    @classmethod
    def of(cls, blocks: nn.Sequential) -> Self:
        """Make an elastic stage of `blocks`, all of them active."""
        stage = cls(*blocks)
        stage.active_depth = len(blocks)
        return stage

    def forward(self, x: Tensor) -> Tensor:
        for block in islice(self, self.active_depth):
            x = block(x)
        return x


class _AllReduceSum(torch.autograd.Function):
    """Sums a tensor over all workers, and its gradient too."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone()
        dist.all_reduce(total)
        return total


def _num_workers() -> int:
    return dist.get_world_size() if is_distributed() else 1
