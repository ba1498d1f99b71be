"""What belongs to a channel: the rows of the convolutions that output it, their BNs, and the
columns of those that read it. Applies masks over channels to all of that (docs/papers.md 1.5 (1)).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detection.morphism.weights import (
    BN_VECTORS,
    OFFSETS,
    PROJECTION_BN,
    PROJECTION_CONV,
    BlockWeights,
    output_readers,
    place_of,
    split_blocks,
)
from searchd.domain.actions import ChannelGroup
from searchd.domain.architecture import NUM_STAGES, Architecture, Block, BlockKind
from searchd.domain.detector import Detector

Masks = dict[tuple[int, int, int], Tensor]
"""(stage 1-4, block index, conv index) -> a mask of the outputs. Convolutions without an entry are
not masked."""
Apply = Callable[[Tensor, int, Tensor | None], Tensor]
"""Applies a mask to a dimension of a tensor; None: there is no mask."""


def units_kept(
    groups: Sequence[ChannelGroup], kept: Sequence[Tensor], architecture: Architecture
) -> Masks:
    """Return the outputs that stay of all convolutions, as ascending indices.

    Args:
        groups: The prunable groups.
        kept: For each group the indices of the units that stay, ascending.
        architecture: The backbone.
    """
    masks: Masks = {}
    for group, units in zip(groups, kept, strict=True):
        if len(units) < group.num_units:
            for place, width in outputs_of(group, architecture):
                channels = units[:, None] * width + torch.arange(width)  # units x channels of each
                masks[place] = channels.flatten()
    return masks


def outputs_of(
    group: ChannelGroup, architecture: Architecture
) -> Iterator[tuple[tuple[int, int, int], int]]:
    """Yield (stage 1-4, block index, conv index) of every convolution that outputs the group's
    channels, and the number of channels that a unit has there."""
    widths = {
        place_of(placed): architecture.kind.conv_channels(placed.block.channels)
        for placed in architecture.placed_blocks()
    }
    last = architecture.kind.num_convs - 1
    for stage, index, conv in (*group.inner, *((*place, last) for place in group.blocks)):
        yield (stage, index, conv), widths[stage, index][conv] // group.num_units


def slice_weights(
    weights: Mapping[str, Tensor], masks: Masks, detector: Detector, apply: Apply
) -> tuple[list[BlockWeights], dict[str, Tensor]]:
    """Apply masks to everything that belongs to a channel, the neck's columns included.

    Args:
        weights: The state_dict of the detector.
        masks: One for each convolution whose outputs are masked.
        detector: The detector.
        apply: How a mask is applied: `selected`, to remove channels.

    Returns:
        The weights of every block in forward order, and those of no block.
    """
    architecture = detector.architecture
    blocks, others = split_blocks(weights, architecture)
    last = architecture.kind.num_convs - 1
    for stage in range(1, NUM_STAGES + 1):
        outputs = masks.get((stage, architecture.depths[stage - 1] - 1, last))
        for reader in output_readers(detector.family, stage):
            others[reader] = apply(others[reader], 1, outputs)
    return _slice_blocks(blocks, masks, architecture, apply), others


def selected(tensor: Tensor, dim: int, indices: Tensor | None) -> Tensor:
    """Return the entries with these indices along a dimension; None: all."""
    return tensor if indices is None else tensor.index_select(dim, indices)


def narrowed(architecture: Architecture, masks: Masks) -> Architecture:
    """Return the architecture with the channels that the masks keep."""
    kind = architecture.kind
    stages = tuple(
        tuple(
            _narrow_block(kind, block, (stage, index), masks) for index, block in enumerate(blocks)
        )
        for stage, blocks in enumerate(architecture.stages, start=1)
    )
    return replace(architecture, stages=stages)


def _narrow_block(kind: BlockKind, block: Block, place: tuple[int, int], masks: Masks) -> Block:
    widths = kind.conv_channels(block.channels)
    kept = tuple(
        len(masks[*place, conv]) if (*place, conv) in masks else width
        for conv, width in enumerate(widths)
    )
    # Whole groups are removed, so the width of a group stays.
    groups = block.groups * kept[kind.strided_conv] // widths[kind.strided_conv]
    return replace(
        block,
        channels=kind.block_channels(kept),
        groups=groups if block.groups > 1 else 1,
    )


def _slice_blocks(
    blocks: Sequence[BlockWeights], masks: Masks, architecture: Architecture, apply: Apply
) -> list[BlockWeights]:
    """Return every block's weights with the rows and columns that stay, in forward order."""
    inputs: Tensor | None = None  # of the current block; the stem is never pruned
    sliced = []
    for placed, weights in zip(architecture.placed_blocks(), blocks, strict=True):
        kind = architecture.kind
        outputs = [masks.get((*place_of(placed), conv)) for conv in range(kind.num_convs)]
        groups = kind.conv_groups(placed.block)
        sliced.append(_slice_block(weights, inputs, outputs, groups, apply))
        inputs = outputs[-1]
    return sliced


def _slice_block(
    weights: BlockWeights,
    inputs: Tensor | None,
    outputs: Sequence[Tensor | None],
    conv_groups: Sequence[int],
    apply: Apply,
) -> BlockWeights:
    sliced = dict(weights)
    if f"{PROJECTION_CONV}.weight" in weights:
        _slice_conv_and_bn(sliced, PROJECTION_CONV, PROJECTION_BN, inputs, outputs[-1], apply)
    for number, (out, groups) in enumerate(zip(outputs, conv_groups, strict=True), start=1):
        offsets = f"conv{number}.{OFFSETS}.weight"  # (2 + 1) k k x C_in x k x k
        if offsets in weights:
            sliced[offsets] = apply(weights[offsets], 1, inputs)
        # Columns of a grouped convolution are counted inside a group; groups that stay keep all.
        columns = inputs if groups == 1 else None
        _slice_conv_and_bn(sliced, f"conv{number}", f"bn{number}", columns, out, apply)
        inputs = out
    return sliced


def _slice_conv_and_bn(
    weights: BlockWeights,
    conv: str,
    bn: str,
    inputs: Tensor | None,
    outputs: Tensor | None,
    apply: Apply,
) -> None:
    """Apply masks, in place, to the rows (outputs) and columns (inputs) of a convolution, and to
    its BN."""
    kernel = weights[f"{conv}.weight"]  # C_out x C_in x k x k
    weights[f"{conv}.weight"] = apply(apply(kernel, 0, outputs), 1, inputs)
    for vector in BN_VECTORS:
        weights[f"{bn}.{vector}"] = apply(weights[f"{bn}.{vector}"], 0, outputs)
