"""Channel pruning: network slimming on the backbone (papers.md 1.5 (1); paper 3.3, A.3).

Channels are ranked over the whole backbone by |gamma| of the BN behind the convolution that makes
them; channels tied by shortcuts are ranked by the BN of the projection they start at. Where the
removed channels' gamma and beta are zero the detector's function is unchanged.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detection.build import Student
from detection.morphism.errors import NothingToDo
from detection.morphism.weights import (
    BN_VECTORS,
    PROJECTION_BN,
    PROJECTION_CONV,
    BlockWeights,
    join_blocks,
    lateral_key,
    place_of,
    split_blocks,
)
from searchd.domain.actions import ChannelGroup, PruneChannels, prunable_groups
from searchd.domain.architecture import NUM_STAGES, Architecture, Block

Masks = dict[tuple[int, int, int], Tensor]
"""(stage 1-4, block index, conv index) -> indices of the outputs that stay, ascending. A
convolution that is not named keeps all."""


def prune_channels(student: Student, action: PruneChannels) -> Student:
    """Remove the least important `action.fraction` of all prunable channels, inherit the rest.

    Channels whose group has come down to `action.min_channels` stay, and the next ones in the
    ranking go instead; so the fraction is exact (to the nearest channel) unless every group ends at
    the minimum.

    Raises:
        NothingToDo: Every group is at the minimum, or the fraction is less than half a channel.
    """
    architecture = student.detector.architecture
    blocks, others = split_blocks(student.weights, architecture)
    groups = prunable_groups(architecture)
    kept = choose(_importances(groups, architecture, blocks), action.fraction, action.min_channels)
    masks = _masks(groups, kept, architecture)

    pruned = _slice_blocks(blocks, masks, architecture)
    for stage in range(1, NUM_STAGES + 1):
        outputs = masks.get((stage, architecture.depths[stage - 1] - 1, _last(architecture)))
        others[lateral_key(stage)] = _select(others[lateral_key(stage)], 1, outputs)
    child = _narrow(architecture, masks)
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(pruned, others, child),
    )


def choose(importances: Sequence[Tensor], fraction: float, min_channels: int) -> list[Tensor]:
    """Which channels of each group stay, by one ranking over all groups.

    Args:
        importances: Per group one number per channel, shape (channels,); the smallest go.
        fraction: Of all channels, in (0, 1).
        min_channels: No group is left with fewer channels than this.

    Returns:
        Per group the indices of the channels that stay, ascending.

    Raises:
        NothingToDo: No channel can go.
    """
    sizes = [len(group) for group in importances]
    budget = round(fraction * sum(sizes))
    spare = [max(0, size - min_channels) for size in sizes]
    if not any(spare):
        raise NothingToDo(f"every prunable group has at most min_channels={min_channels} channels")
    if budget == 0:
        raise NothingToDo(f"{fraction:.2%} of {sum(sizes)} prunable channels is not one channel")

    stays = [torch.ones(size, dtype=torch.bool) for size in sizes]
    places = [(group, channel) for group, size in enumerate(sizes) for channel in range(size)]
    # Stable, so that channels of equal importance go in forward order.
    for position in torch.cat(list(importances)).argsort(stable=True).tolist():
        group, channel = places[position]
        if budget > 0 and spare[group] > 0:
            stays[group][channel] = False
            spare[group] -= 1
            budget -= 1
    return [group.nonzero().flatten() for group in stays]


def _importances(
    groups: Sequence[ChannelGroup], architecture: Architecture, blocks: Sequence[BlockWeights]
) -> list[Tensor]:
    """|gamma| per group: an inner convolution's own BN, a residual group's projection BN."""
    by_place = dict(zip(map(place_of, architecture.placed_blocks()), blocks, strict=True))
    found = []
    for group in groups:
        if group.inner is not None:
            stage, index, conv = group.inner
            found.append(by_place[stage, index][f"bn{conv + 1}.weight"].abs())
        else:
            found.append(by_place[group.blocks[0]][f"{PROJECTION_BN}.weight"].abs())
    return found


def _masks(
    groups: Sequence[ChannelGroup], kept: Sequence[Tensor], architecture: Architecture
) -> Masks:
    """Spread each group's choice over all convolutions whose outputs it holds."""
    masks: Masks = {}
    for group, indices in zip(groups, kept, strict=True):
        if len(indices) == group.channels:
            continue
        if group.inner is not None:
            masks[group.inner] = indices
        for place in group.blocks:
            masks[*place, _last(architecture)] = indices
    return masks


def _slice_blocks(
    blocks: Sequence[BlockWeights], masks: Masks, architecture: Architecture
) -> list[BlockWeights]:
    """Every block's weights with the rows and columns that stay, in forward order."""
    inputs: Tensor | None = None  # of the block at hand; the stem is never pruned
    sliced = []
    for placed, weights in zip(architecture.placed_blocks(), blocks, strict=True):
        outputs = [
            masks.get((*place_of(placed), conv)) for conv in range(len(placed.block.channels))
        ]
        sliced.append(_slice_block(weights, inputs, outputs))
        inputs = outputs[-1]
    return sliced


def _slice_block(
    weights: BlockWeights, inputs: Tensor | None, outputs: Sequence[Tensor | None]
) -> BlockWeights:
    sliced = dict(weights)
    if f"{PROJECTION_CONV}.weight" in weights:
        _slice_conv_and_bn(sliced, PROJECTION_CONV, PROJECTION_BN, inputs, outputs[-1])
    for number, out in enumerate(outputs, start=1):
        _slice_conv_and_bn(sliced, f"conv{number}", f"bn{number}", inputs, out)
        inputs = out
    return sliced


def _slice_conv_and_bn(
    weights: BlockWeights, conv: str, bn: str, inputs: Tensor | None, outputs: Tensor | None
) -> None:
    """In place: rows (outputs) and columns (inputs) of one convolution, entries of its BN."""
    kernel = weights[f"{conv}.weight"]  # C_out x C_in x k x k
    weights[f"{conv}.weight"] = _select(_select(kernel, 0, outputs), 1, inputs)
    for vector in BN_VECTORS:
        weights[f"{bn}.{vector}"] = _select(weights[f"{bn}.{vector}"], 0, outputs)


def _select(tensor: Tensor, dim: int, indices: Tensor | None) -> Tensor:
    return tensor if indices is None else tensor.index_select(dim, indices)


def _narrow(architecture: Architecture, masks: Masks) -> Architecture:
    """The architecture with as many channels as the masks keep."""
    stages = tuple(
        tuple(_narrow_block(block, (stage, index), masks) for index, block in enumerate(blocks))
        for stage, blocks in enumerate(architecture.stages, start=1)
    )
    return replace(architecture, stages=stages)


def _narrow_block(block: Block, place: tuple[int, int], masks: Masks) -> Block:
    channels = tuple(
        len(masks[*place, conv]) if (*place, conv) in masks else width
        for conv, width in enumerate(block.channels)
    )
    return replace(block, channels=channels)


def _last(architecture: Architecture) -> int:
    """Index of the convolution that makes a block's output."""
    return architecture.kind.num_convs - 1
