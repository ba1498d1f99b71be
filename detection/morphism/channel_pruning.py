"""Channel pruning: network slimming on the backbone (docs/papers.md 1.5 (1); Joint-DetNAS 3.3,
A.3).

Channels are ranked over the whole backbone by |gamma| of the BN after the convolution that outputs
them. Channels tied by shortcuts are ranked by the BN of the first block among them. A ResNeXt loses
whole groups. If gamma and beta of the removed channels are zero, the detector's function is
unchanged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detection.build import Student
from detection.morphism.errors import NothingToDo
from detection.morphism.weights import (
    BN_VECTORS,
    OFFSETS,
    PROJECTION_BN,
    PROJECTION_CONV,
    BlockWeights,
    join_blocks,
    output_readers,
    place_of,
    split_blocks,
)
from searchd.domain.actions import ChannelGroup, PruneChannels, prunable_groups
from searchd.domain.architecture import NUM_STAGES, Architecture, Block, BlockKind

Masks = dict[tuple[int, int, int], Tensor]
"""(stage 1-4, block index, conv index) -> indices of the outputs that stay, ascending. Convolutions
without an entry keep all outputs."""


def prune_channels(student: Student, action: PruneChannels) -> Student:
    """Remove the least important `action.fraction` of all prunable channels and inherit the rest.

    Channels whose group is down to `action.min_channels` stay, and the next ones in the ranking are
    removed instead. So the fraction is exact (to the nearest channel; with grouped convolutions to
    less than one of their groups, with `action.round_to` to less than one multiple) unless every
    group ends at the minimum.

    Raises:
        NothingToDo: Every group is at the minimum, or the fraction is less than the smallest
            removable unit: half a channel, or a group of a grouped convolution.
    """
    architecture = student.detector.architecture
    blocks, others = split_blocks(student.weights, architecture)
    groups = prunable_groups(architecture)
    importances = _importances(groups, architecture, blocks)
    kept = choose(
        groups, importances, action.fraction, action.min_channels, round_to=action.round_to
    )
    masks = _masks(groups, kept, architecture)

    pruned = _slice_blocks(blocks, masks, architecture)
    for stage in range(1, NUM_STAGES + 1):
        outputs = masks.get((stage, architecture.depths[stage - 1] - 1, _last(architecture)))
        for reader in output_readers(student.detector.family, stage):
            others[reader] = _select(others[reader], 1, outputs)
    child = _narrow(architecture, masks)
    return Student(
        detector=replace(student.detector, architecture=child),
        weights=join_blocks(pruned, others, child),
    )


def choose(
    groups: Sequence[ChannelGroup],
    importances: Sequence[Tensor],
    fraction: float,
    min_channels: int,
    *,
    round_to: int = 1,
) -> list[Tensor]:
    """Choose the units of each group that stay, by one ranking over all groups.

    Units are removed in steps, which leave a multiple of `round_to` channels. A step is ranked by
    the mean importance of its units.

    Args:
        groups: The prunable groups; a unit is a channel, or a group of a grouped convolution.
        importances: For each group the importance of its units, shape (num_units,). The least
            important units are removed.
        fraction: Share of all channels to remove, in (0, 1). Exceeded only by rounding to a
            channel.
        min_channels: Smallest number of channels that a group keeps.
        round_to: See `PruneChannels.round_to`.

    Returns:
        For each group the indices of the units that stay, ascending.

    Raises:
        NothingToDo: No unit can be removed.
    """
    num_channels = sum(group.channels for group in groups)
    budget = round(fraction * num_channels)
    steps = [
        (importance, i, units)
        for i, group in enumerate(groups)
        for importance, units in _steps(group, importances[i], min_channels, round_to)
    ]
    if not steps:
        raise NothingToDo(
            f"everything prunable is down to min_channels={min_channels} channels, or to the last "
            "two groups of a grouped convolution"
        )
    smallest = min(len(units) * groups[i].unit for _, i, units in steps)
    if round_to > 1:
        budget = max(budget, smallest)
    if budget < smallest:
        piece = "one channel" if smallest == 1 else f"a group of {smallest} channels"
        raise NothingToDo(
            f"{fraction:.2%} of {num_channels} prunable channels is less than {piece}"
        )

    stays = [torch.ones(group.num_units, dtype=torch.bool) for group in groups]
    # Stable, so that units of equal importance are removed in forward order. The steps of a group
    # come in order, and once one does not fit into the budget, no later one of the group does.
    for _, i, units in sorted(steps, key=lambda step: step[0]):
        channels = len(units) * groups[i].unit
        if channels <= budget:
            stays[i][units] = False
            budget -= channels
    return [group.nonzero().flatten() for group in stays]


def _steps(
    group: ChannelGroup, importances: Tensor, min_channels: int, round_to: int
) -> Iterator[tuple[float, Tensor]]:
    """Yield the units that may be removed from a group, least important first, in steps after each
    of which a multiple of `round_to` channels is left, with the mean importance of each step."""
    spare, step = group.spare_units(min_channels, round_to), group.step(round_to)
    order = importances.argsort(stable=True)
    start, end = 0, group.num_units % step or step
    while end <= spare:
        units = order[start:end]
        yield float(importances[units].mean()), units
        start, end = end, end + step


def _importances(
    groups: Sequence[ChannelGroup], architecture: Architecture, blocks: Sequence[BlockWeights]
) -> list[Tensor]:
    """Return the mean |gamma| of each unit over its channels and BNs.

    An inner group has its own BNs. A residual group is ranked by the BN of the first block's
    projection or, if it has none, by that block's last BN.
    """
    by_place = dict(zip(map(place_of, architecture.placed_blocks()), blocks, strict=True))
    found = []
    for group in groups:
        if group.inner:
            gammas = [by_place[s, i][f"bn{conv + 1}.weight"] for s, i, conv in group.inner]
        else:
            first = by_place[group.blocks[0]]
            bn = PROJECTION_BN if f"{PROJECTION_BN}.weight" in first else _last_bn(architecture)
            gammas = [first[f"{bn}.weight"]]
        # num_units x the unit's channels in all of these BNs
        units = torch.cat([gamma.reshape(group.num_units, -1) for gamma in gammas], dim=1)
        found.append(units.abs().mean(dim=1))
    return found


def _masks(
    groups: Sequence[ChannelGroup], kept: Sequence[Tensor], architecture: Architecture
) -> Masks:
    """Apply each group's choice to all convolutions whose outputs are in the group."""
    widths = {
        place_of(placed): architecture.kind.conv_channels(placed.block.channels)
        for placed in architecture.placed_blocks()
    }
    masks: Masks = {}
    for group, units in zip(groups, kept, strict=True):
        if len(units) == group.num_units:
            continue
        outputs = (*group.inner, *((*place, _last(architecture)) for place in group.blocks))
        for stage, index, conv in outputs:
            width = widths[stage, index][conv] // group.num_units
            channels = units[:, None] * width + torch.arange(width)  # units x channels of each
            masks[stage, index, conv] = channels.flatten()
    return masks


def _slice_blocks(
    blocks: Sequence[BlockWeights], masks: Masks, architecture: Architecture
) -> list[BlockWeights]:
    """Return every block's weights with the rows and columns that stay, in forward order."""
    inputs: Tensor | None = None  # of the current block; the stem is never pruned
    sliced = []
    for placed, weights in zip(architecture.placed_blocks(), blocks, strict=True):
        kind = architecture.kind
        outputs = [masks.get((*place_of(placed), conv)) for conv in range(kind.num_convs)]
        sliced.append(_slice_block(weights, inputs, outputs, kind.conv_groups(placed.block)))
        inputs = outputs[-1]
    return sliced


def _slice_block(
    weights: BlockWeights,
    inputs: Tensor | None,
    outputs: Sequence[Tensor | None],
    conv_groups: Sequence[int],
) -> BlockWeights:
    sliced = dict(weights)
    if f"{PROJECTION_CONV}.weight" in weights:
        _slice_conv_and_bn(sliced, PROJECTION_CONV, PROJECTION_BN, inputs, outputs[-1])
    for number, (out, groups) in enumerate(zip(outputs, conv_groups, strict=True), start=1):
        offsets = f"conv{number}.{OFFSETS}.weight"  # (2 + 1) k k x C_in x k x k
        if offsets in weights:
            sliced[offsets] = _select(weights[offsets], 1, inputs)
        # Columns of a grouped convolution are counted inside a group; groups that stay keep all.
        columns = inputs if groups == 1 else None
        _slice_conv_and_bn(sliced, f"conv{number}", f"bn{number}", columns, out)
        inputs = out
    return sliced


def _slice_conv_and_bn(
    weights: BlockWeights, conv: str, bn: str, inputs: Tensor | None, outputs: Tensor | None
) -> None:
    """Select, in place, rows (outputs) and columns (inputs) of a convolution, and its BN."""
    kernel = weights[f"{conv}.weight"]  # C_out x C_in x k x k
    weights[f"{conv}.weight"] = _select(_select(kernel, 0, outputs), 1, inputs)
    for vector in BN_VECTORS:
        weights[f"{bn}.{vector}"] = _select(weights[f"{bn}.{vector}"], 0, outputs)


def _select(tensor: Tensor, dim: int, indices: Tensor | None) -> Tensor:
    return tensor if indices is None else tensor.index_select(dim, indices)


def _narrow(architecture: Architecture, masks: Masks) -> Architecture:
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


def _last(architecture: Architecture) -> int:
    """Return the index of the convolution that computes a block's output."""
    return architecture.kind.num_convs - 1


def _last_bn(architecture: Architecture) -> str:
    return f"bn{architecture.kind.num_convs}"
