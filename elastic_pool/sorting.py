"""Channel sorting: puts the most important channels first, so that narrow subnets keep them.

Once-for-all (docs/papers.md 1.7, 1.12): a channel's importance is the L1 norm of the weights that
read it. The layers that write the channels and those that read them are permuted together, so the
supernet computes the same as before (up to the order of additions).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from elastic_pool.supernet import Supernet
from searchd.domain.architecture import NUM_STAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Channels that are permuted together."""

    writers: Sequence[nn.Module]
    """Convolutions and BNs whose outputs these channels are."""
    readers: Sequence[nn.Module]
    """Convolutions and linear layers whose inputs they are, and whose weights rank them."""
    is_neck_output: bool = False


@torch.no_grad()
def sort_channels(supernet: Supernet) -> Tensor:
    """Sort all elastic channels by falling importance, in place.

    The supernet's function stays, its subnets' functions change.

    Returns:
        The former index of each channel of the FPN's outputs. A layer outside the detector that
        reads them (a distillation adapter) must be permuted in the same way.
    """
    neck_order = None
    for group in _groups(supernet.detector, elastic_stem=supernet.space.elastic_stem):
        order = _order(group)
        for writer in group.writers:
            _permute_outputs(writer, order)
        for reader in group.readers:
            _permute_inputs(reader, order)
        if group.is_neck_output:
            neck_order = order
    assert neck_order is not None
    return neck_order


def _groups(detector: Any, *, elastic_stem: bool) -> Iterator[_Group]:
    """Yield every group of elastic channels. Groups are independent of each other."""
    backbone, neck, rpn = detector.backbone, detector.neck, detector.rpn_head
    stages = [list(backbone.get_submodule(f"layer{i}")) for i in range(1, NUM_STAGES + 1)]
    laterals = [lateral.conv for lateral in neck.lateral_convs]
    outputs = [output.conv for output in neck.fpn_convs]
    if elastic_stem:
        entry = stages[0][0]
        yield _Group(
            writers=[backbone.conv1, backbone.bn1], readers=[entry.conv1, entry.downsample[0]]
        )
    for blocks, following, lateral in zip(stages, [*stages[1:], []], laterals, strict=True):
        for block in blocks:
            yield _Group(writers=[block.conv1, block.bn1], readers=[block.conv2])
            yield _Group(writers=[block.conv2, block.bn2], readers=[block.conv3])
        yield _stage_outputs(blocks, following, lateral)
    yield _Group(writers=laterals, readers=outputs)
    yield _Group(
        writers=outputs,
        readers=[rpn.rpn_conv, detector.roi_head.bbox_head.shared_fcs[0]],
        is_neck_output=True,
    )
    yield _Group(writers=[rpn.rpn_conv], readers=[rpn.rpn_cls, rpn.rpn_reg])


def _stage_outputs(blocks: list[Any], following: list[Any], lateral: nn.Module) -> _Group:
    """Return a stage's residual group: its shortcuts tie the outputs of all its blocks."""
    writers = [module for block in blocks for module in (block.conv3, block.bn3)]
    readers = [block.conv1 for block in blocks[1:]]
    readers += [module for block in following[:1] for module in (block.conv1, block.downsample[0])]
    return _Group(writers=[*writers, *blocks[0].downsample], readers=[*readers, lateral])


def _order(group: _Group) -> Tensor:
    """Return the channels' indices, the most important first."""
    writer: Any = group.writers[0]
    num_channels = len(writer.weight)
    weights = [_by_channel(reader, num_channels).abs().sum((0, 2)) for reader in group.readers]
    return torch.stack(weights).sum(0).argsort(descending=True, stable=True)


def _by_channel(reader: Any, num_channels: int) -> Tensor:
    """Return the reader's weights as outputs x channels x positions. A fully connected layer behind
    the RoI features reads each channel at 7 x 7 positions, channel by channel."""
    weight: Tensor = reader.weight
    return weight.reshape(len(weight), num_channels, -1)


def _permute_outputs(writer: nn.Module, order: Tensor) -> None:
    """Permute weights, biases and BN statistics, all of which have their outputs first."""
    for value in (*writer.parameters(), *writer.buffers()):
        if value.dim() > 0:  # BN counts its batches in a scalar
            value.copy_(value[order])


def _permute_inputs(reader: Any, order: Tensor) -> None:
    by_channel = _by_channel(reader, len(order))
    reader.weight.copy_(by_channel[:, order].reshape(reader.weight.shape))
