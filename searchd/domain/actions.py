"""The four edits of a student, as values, and where each is legal. Standard library only.

Joint-DetNAS sections 3.1.2, A.1.2, A.3; decisions in docs/papers.md 1.5. Carrying an action out on
weights is `detection.morphism`.
"""

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
"""For how many further actions a block that was added or moved cannot be removed."""


class LayerImportance(StrEnum):
    """How layer pruning ranks blocks; the smallest value is removed.

    Attributes:
        L1_MEAN: Mean |w| over the block's convolution weights (default; docs/papers.md 1.5 (2)).
        L1_SUM: The raw sum, which grows with the number of parameters.
    """

    L1_MEAN = "l1_mean"
    L1_SUM = "l1_sum"


class Move(StrEnum):
    """Which block of the stage moves, and where to.

    Attributes:
        LAST_TO_NEXT: The stage's last block becomes the first of the next stage.
        FIRST_TO_PREVIOUS: The stage's first block becomes the last of the previous stage.
    """

    LAST_TO_NEXT = "last_to_next"
    FIRST_TO_PREVIOUS = "first_to_previous"


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneChannels:
    """Remove the least important fraction of all prunable channels, ranked globally by |gamma|.

    Channels that share a mask count once; a group of a grouped convolution goes whole and counts as
    its channels (see `prunable_groups`).
    """

    fraction: float = 0.05
    """Of all prunable channels, in (0, 1)."""
    min_channels: int = 32
    """No convolution is left with fewer channels than this (or than it already has)."""
    kind: Literal["prune_channels"] = "prune_channels"

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise InvalidValueError(f"fraction={self.fraction} must lie between 0 and 1")
        if self.min_channels < 1:
            raise InvalidValueError(f"min_channels={self.min_channels} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneLayer:
    """Remove the whole block with the smallest weights among the legal ones."""

    importance: LayerImportance = LayerImportance.L1_MEAN
    kind: Literal["prune_layer"] = "prune_layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLayer:
    """Append one block, initialised as the identity, to a stage."""

    stage: int
    """1 to 4."""
    kind: Literal["add_layer"] = "add_layer"

    def __post_init__(self) -> None:
        _check_stage(self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rearrange:
    """Move a stage's first or last block to the neighbouring stage by changing its stride."""

    stage: int
    """1 to 4: the stage that gives the block away."""
    move: Move
    kind: Literal["rearrange"] = "rearrange"

    def __post_init__(self) -> None:
        _check_stage(self.stage)


Action = PruneChannels | PruneLayer | AddLayer | Rearrange
ActionKind = Literal["prune_channels", "prune_layer", "add_layer", "rearrange"]
ACTION_KINDS: tuple[ActionKind, ...] = ("prune_channels", "prune_layer", "add_layer", "rearrange")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels that one mask removes (docs/papers.md 1.5 (1)), in units that go or stay whole."""

    channels: int
    """Number of channels; that of the narrowest convolution if the tied ones differ."""
    unit: int = 1
    """Channels of one unit: 1, or the width of a group of a grouped convolution."""
    min_units: int = 1
    """As many units always stay."""
    inner: tuple[tuple[int, int, int], ...] = ()
    """(stage 1-4, block index, conv index) of the convolutions inside one block whose outputs these
    are; the mean over their BNs ranks them. Empty for a residual group."""
    blocks: tuple[tuple[int, int], ...] = ()
    """(stage 1-4, block index) of the blocks whose outputs are tied by shortcuts, in forward order.
    The first is a projection block, whose shortcut BN ranks the channels, or a block without
    shortcut, whose last BN does."""

    @property
    def num_units(self) -> int:
        return self.channels // self.unit

    def spare_units(self, min_channels: int) -> int:
        """How many units may go so that `min_channels` channels, and `min_units`, are left."""
        stay = max(self.min_units, -(-min_channels // self.unit))
        return max(0, self.num_units - stay)


def prunable_groups(architecture: Architecture) -> tuple[ChannelGroup, ...]:
    """All groups that channel pruning may touch, in forward order: inner ones, then residual ones.

    Inner groups (`_inner_groups`), and residual groups that start at a projection or at a block
    without shortcut. Groups follow skip connectivity and not stages, since after a rearrangement
    one stage can hold two widths (docs/papers.md 1.5 (1)). The stem, and what is tied to it by
    identities, is not prunable, nor is a residual group that holds a grouped block: ResNeXt's stage
    outputs stay as they are.
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
    """A block's inner channels: convolution by convolution, or all at once.

    A grouped convolution ties the channels that it reads to those that it makes: the two
    convolutions before the last share a mask. Depthwise, it does so channel by channel; in a
    ResNeXt, whole groups go (the mid widths stay multiples of a group's), and two groups stay, so
    that the block stays a grouped one.
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
    """(stage 1-4, block index) of every block that layer pruning may remove.

    Identity shortcut, stride 1, in a stage of more than one block, and not protected.
    """
    return tuple(
        (placed.stage, placed.index)
        for placed in architecture.placed_blocks()
        if placed.block.shortcut is Shortcut.IDENTITY
        and len(architecture.stages[placed.stage - 1]) > 1
        and placed.block.protected_for == 0
    )


def can_rearrange(architecture: Architecture, stage: int, move: Move) -> bool:
    """Whether the move keeps every stage non-empty and every FPN lateral's shape.

    The moved block must keep its channels (input = output), so that the level it leaves keeps its
    width; moves that would need a new lateral are not offered (docs/papers.md 1.5 (4)).
    """
    blocks = architecture.stages[stage - 1]
    if len(blocks) < 2:
        return False
    if move is Move.LAST_TO_NEXT:
        return stage < NUM_STAGES and blocks[-2].out_channels == blocks[-1].out_channels
    if stage == 1:
        return False
    return architecture.stages[stage - 2][-1].out_channels == blocks[0].out_channels


def legal_actions(
    architecture: Architecture,
    *,
    kinds: Sequence[ActionKind] = ACTION_KINDS,
    prune_fraction: float = 0.05,
    min_channels: int = 32,
    importance: LayerImportance = LayerImportance.L1_MEAN,
    max_depth: int = 40,
) -> dict[ActionKind, tuple[Action, ...]]:
    """Every legal action by kind; kinds without one are left out.

    Args:
        architecture: The student to edit.
        kinds: Kinds to consider.
        prune_fraction: See `PruneChannels.fraction`.
        min_channels: See `PruneChannels.min_channels`.
        importance: See `LayerImportance`.
        max_depth: A stage of this many blocks is not deepened further.
    """
    found: dict[ActionKind, tuple[Action, ...]] = {
        "prune_channels": (PruneChannels(fraction=prune_fraction, min_channels=min_channels),)
        if any(group.spare_units(min_channels) for group in prunable_groups(architecture))
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
            Rearrange(stage=stage, move=move)
            for stage in range(1, NUM_STAGES + 1)
            for move in Move
            if can_rearrange(architecture, stage, move)
        ),
    }
    return {kind: found[kind] for kind in kinds if found[kind]}


def describe(action: Action) -> str:
    """The action in a few words, as tables and logs show it."""
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
