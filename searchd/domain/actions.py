"""The four actions that edit a student, as values, and where each is legal. Standard library only.

Joint-DetNAS sections 3.1.2, A.1.2 and A.3; decisions in docs/papers.md 1.5. `detection.morphism`
applies actions to weights. "Stage" in this module is a stage of the backbone, numbered 1 to 4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from searchd.domain.architecture import (
    NUM_STAGES,
    Architecture,
    BlockKind,
    PlacedBlock,
    Shortcut,
)
from searchd.domain.errors import InvalidValueError

PROTECTED_ACTIONS = 2
"""Number of further actions during which a block that was added or moved cannot be removed."""


class LayerImportance(StrEnum):
    """How layer pruning ranks blocks; the block with the smallest value is removed.

    Attributes:
        L1_MEAN: Mean |w| over the block's convolution weights (default; docs/papers.md 1.5 (2)).
        L1_SUM: Sum of |w|, which grows with the number of parameters.
    """

    L1_MEAN = "l1_mean"
    L1_SUM = "l1_sum"


class ChannelImportance(StrEnum):
    """How channel pruning ranks channels; those with the smallest values are removed.

    Attributes:
        GAMMA: |gamma| of the BN after the convolution that outputs them (default; network slimming,
            docs/papers.md 1.5 (1)).
        L2: Root mean square of every weight that is removed with them.
        TAYLOR: Change of the detection loss that a first-order expansion expects of their removal.
    """

    GAMMA = "gamma"
    L2 = "l2"
    TAYLOR = "taylor"


class Move(StrEnum):
    """Which block of a backbone stage moves, and to which neighbouring stage.

    Attributes:
        LAST_TO_NEXT: The stage's last block becomes the first of the next stage.
        FIRST_TO_PREVIOUS: The stage's first block becomes the last of the previous stage.
    """

    LAST_TO_NEXT = "last_to_next"
    FIRST_TO_PREVIOUS = "first_to_previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels:
    """Remove the least important fraction of all prunable channels, ranked globally.

    Channels that share a mask count once. A group of a grouped convolution is removed as a whole
    and counts as the number of its channels (see `prunable_groups`).
    """

    fraction: float = 0.05
    """Share of all prunable channels to remove, in (0, 1)."""
    min_channels: int = 32
    """Smallest number of channels that a convolution keeps; one that already has fewer is not
    pruned."""
    round_to: int = 1
    """A convolution that is pruned keeps a multiple of this number of channels, because devices
    compute some multiples faster. At least one such step is removed, even if `fraction` is less."""
    importance: ChannelImportance = ChannelImportance.GAMMA
    """How channels are ranked."""
    kind: Literal["prune_channels"] = "prune_channels"

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InvalidValueError(f"fraction={self.fraction} must lie between 0 and 1")
        if self.min_channels < 1:
            raise InvalidValueError(f"min_channels={self.min_channels} must be at least 1")
        if self.round_to < 1:
            raise InvalidValueError(f"round_to={self.round_to} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneLayer:
    """Remove the block with the smallest weights among the removable ones (see
    `removable_blocks`)."""

    importance: LayerImportance = LayerImportance.L1_MEAN
    """How the size of a block's weights is measured."""
    kind: Literal["prune_layer"] = "prune_layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLayer:
    """Append one block, initialised as the identity, to a backbone stage."""

    stage: int
    """Number of the backbone stage, 1 to 4."""
    kind: Literal["add_layer"] = "add_layer"

    def __post_init__(self) -> None:
        _check_stage(self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearrange:
    """Move a backbone stage's first or last block to the neighbouring stage by changing its
    stride."""

    stage: int
    """Number of the backbone stage that the block leaves, 1 to 4."""
    move: Move
    """Which block moves, and in which direction."""
    reinit_lateral: bool = False
    """Whether the level that the block leaves or joins changes its width, so that the neck's
    lateral convolution of that level starts from random weights."""
    projection: bool = False
    """Whether a block that gets stride 2, and had an identity shortcut, has a projection that
    starts as the identity, instead of every second row and column of its input."""
    kind: Literal["rearrange"] = "rearrange"

    def __post_init__(self) -> None:
        _check_stage(self.stage)


Action = PruneChannels | PruneLayer | AddLayer | Rearrange
ActionKind = Literal["prune_channels", "prune_layer", "add_layer", "rearrange"]
ACTION_KINDS: tuple[ActionKind, ...] = ("prune_channels", "prune_layer", "add_layer", "rearrange")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels that share one pruning mask (docs/papers.md 1.5 (1)). They are removed in units."""

    channels: int
    """Number of channels. If the tied convolutions differ, that of the narrowest one."""
    unit: int = 1
    """Channels per unit: 1, or the width of a group of a grouped convolution."""
    min_units: int = 1
    """Smallest number of units that the group keeps."""
    inner: tuple[tuple[int, int, int], ...] = ()
    """(stage 1-4, block index, conv index) of the convolutions inside one block that output these
    channels. The mean over their BNs ranks the channels. Empty for a residual group."""
    blocks: tuple[tuple[int, int], ...] = ()
    """(stage 1-4, block index) of the blocks whose outputs are tied by shortcuts, in forward order.
    The first block has a projection shortcut, whose BN ranks the channels, or no shortcut, and then
    its last BN ranks them. Empty for an inner group."""

    @property
    def num_units(self) -> int:
        """Number of units."""
        return self.channels // self.unit

    def step(self, round_to: int) -> int:
        """Return the number of units whose channels are a multiple of `round_to`."""
        return round_to // math.gcd(round_to, self.unit)

    def spare_units(self, min_channels: int, round_to: int = 1) -> int:
        """Return how many units may be removed while `min_channels` channels and `min_units` units
        are kept, and a multiple of `round_to` channels."""
        step = self.step(round_to)
        kept_units = max(self.min_units, -(-min_channels // self.unit))
        return max(0, self.num_units - step * -(-kept_units // step))


def prunable_groups(architecture: Architecture) -> tuple[ChannelGroup, ...]:
    """Return the groups that channel pruning may shrink: inner groups, then residual groups, each
    in forward order.

    A residual group starts at a projection or at a block without shortcut. Groups follow the skip
    connections and not the stages, since after a rearrangement one stage can have two widths
    (docs/papers.md 1.5 (1)). Not prunable are the stem, the outputs tied to it by identity
    shortcuts, and residual groups with a grouped block: ResNeXt's stage outputs are never pruned.
    """
    inner: list[ChannelGroup] = []
    residual: list[list[PlacedBlock]] = []
    for placed in architecture.placed_blocks():
        inner.extend(_inner_groups(architecture.kind, placed))
        if placed.block.shortcut in (Shortcut.PROJECTION, Shortcut.NONE):
            residual.append([placed])
        elif residual:
            residual[-1].append(placed)
    tied = [
        ChannelGroup(
            channels=members[0].block.out_channels,
            blocks=tuple((member.stage, member.index) for member in members),
        )
        for members in residual
        if all(member.block.groups == 1 for member in members)
    ]
    return (*inner, *tied)


def _inner_groups(kind: BlockKind, placed: PlacedBlock) -> list[ChannelGroup]:
    """Return the groups of a block's inner channels, one per convolution or one for all of them.

    A grouped convolution ties its input channels to its output channels, so the two convolutions
    before the last one share a mask. In a depthwise convolution single channels are removed. In a
    ResNeXt block whole groups are removed, so that the middle widths remain multiples of the group
    width, and at least two groups are kept, so that the block remains a grouped one.
    """
    block, place = placed.block, (placed.stage, placed.index)
    if kind is BlockKind.INVERTED_RESIDUAL:
        return [ChannelGroup(channels=block.channels[0], inner=((*place, 0), (*place, 1)))]
    if block.groups > 1:
        channels = min(block.channels[:2])
        return [
            ChannelGroup(
                channels=channels,
                unit=channels // block.groups,
                min_units=2,
                inner=((*place, 0), (*place, 1)),
            )
        ]
    return [
        ChannelGroup(channels=channels, inner=((*place, conv),))
        for conv, channels in enumerate(block.channels[:-1])
    ]


def removable_blocks(architecture: Architecture) -> tuple[tuple[int, int], ...]:
    """Return (stage 1-4, block index) of every block that layer pruning may remove.

    Such a block has an identity shortcut (and so stride 1), is not the only block of its stage, and
    is not protected.
    """
    return tuple(
        (placed.stage, placed.index)
        for placed in architecture.placed_blocks()
        if placed.block.shortcut is Shortcut.IDENTITY
        and len(architecture.stages[placed.stage - 1]) > 1
        and placed.block.protected_for == 0
    )


def can_rearrange(
    architecture: Architecture, stage: int, move: Move, *, reinit_lateral: bool = False
) -> bool:
    """Return whether the move leaves every stage non-empty and every FPN lateral's shape unchanged.

    The moved block must have as many input as output channels, so that the level it leaves keeps
    its width. Moves that need a new lateral are legal only with `reinit_lateral`
    (docs/papers.md 1.5 (4)).
    """
    blocks = architecture.stages[stage - 1]
    if len(blocks) < 2 or stage == (NUM_STAGES if move is Move.LAST_TO_NEXT else 1):
        return False
    if move is Move.LAST_TO_NEXT:
        before, after = blocks[-1], blocks[-2]
    else:
        before, after = architecture.stages[stage - 2][-1], blocks[0]
    return reinit_lateral or before.out_channels == after.out_channels


def legal_actions(
    architecture: Architecture,
    *,
    kinds: Sequence[ActionKind] = ACTION_KINDS,
    prune_fraction: float = 0.05,
    min_channels: int = 32,
    round_to: int = 1,
    channel_importance: ChannelImportance = ChannelImportance.GAMMA,
    importance: LayerImportance = LayerImportance.L1_MEAN,
    max_depth: int = 40,
    reinit_laterals: bool = False,
    projection: bool = False,
) -> dict[ActionKind, tuple[Action, ...]]:
    """Return the legal actions by kind. Kinds without a legal action are left out.

    Args:
        architecture: The student's backbone.
        kinds: Kinds to consider.
        prune_fraction: See `PruneChannels.fraction`.
        min_channels: See `PruneChannels.min_channels`.
        round_to: See `PruneChannels.round_to`.
        channel_importance: See `ChannelImportance`.
        importance: See `LayerImportance`.
        max_depth: Largest number of blocks in a stage; no block is added to such a stage.
        reinit_laterals: Whether moves are legal that need `Rearrange.reinit_lateral`.
        projection: See `Rearrange.projection`.
    """
    pruning = PruneChannels(
        fraction=prune_fraction,
        min_channels=min_channels,
        round_to=round_to,
        importance=channel_importance,
    )
    groups = prunable_groups(architecture)
    found: dict[ActionKind, tuple[Action, ...]] = {
        "prune_channels": (pruning,)
        if any(group.spare_units(min_channels, round_to) for group in groups)
        else (),
        "prune_layer": (PruneLayer(importance=importance),)
        if removable_blocks(architecture)
        else (),
        "add_layer": tuple(
            AddLayer(stage=stage)
            for stage in range(1, NUM_STAGES + 1)
            if architecture.depths[stage - 1] < max_depth
        ),
        "rearrange": tuple(
            Rearrange(
                stage=stage,
                move=move,
                reinit_lateral=not can_rearrange(architecture, stage, move),
                projection=projection,
            )
            for stage in range(1, NUM_STAGES + 1)
            for move in Move
            if can_rearrange(architecture, stage, move, reinit_lateral=reinit_laterals)
        ),
    }
    return {kind: found[kind] for kind in kinds if found[kind]}


def describe(action: Action) -> str:
    """Return a short description of the action for tables and logs."""
    match action:
        case PruneChannels():
            return f"prune {action.fraction:.0%} of channels"
        case PruneLayer():
            return "prune a layer"
        case AddLayer():
            return f"add a layer to stage {action.stage}"
        case Rearrange(move=Move.LAST_TO_NEXT):
            return f"move stage {action.stage}'s last layer to stage {action.stage + 1}"
        case _:
            return f"move stage {action.stage}'s first layer to stage {action.stage - 1}"


def _check_stage(stage: int) -> None:
    if not 1 <= stage <= NUM_STAGES:
        raise InvalidValueError(f"stage={stage} must lie between 1 and {NUM_STAGES}")
