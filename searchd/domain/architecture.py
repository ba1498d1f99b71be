"""A student's backbone as a value: stages of residual blocks. Standard library only.

Papers: Joint-DetNAS (004) sections A.1.1 and B. Stages are numbered 1 to 4 wherever people or
actions name them; tuples are indexed from 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from searchd.domain.errors import InvalidValueError

NUM_STAGES = 4
STAGE_STRIDES = (4, 8, 16, 32)
"""Stride of each stage's output (C2..C5) with respect to the image."""


class BlockKind(StrEnum):
    """Which residual block the backbone is made of.

    Attributes:
        BASIC: 3x3, 3x3 (ResNet-18/34); channels (c1, c_out).
        BOTTLENECK: 1x1, 3x3, 1x1 (ResNet-50 and up, ResNeXt if grouped); channels (c1, c2, c_out).
    """

    BASIC = "basic"
    BOTTLENECK = "bottleneck"

    @property
    def num_convs(self) -> int:
        """Number of convolutions on the main path, which is the length of `Block.channels`."""
        return 2 if self is BlockKind.BASIC else 3

    @property
    def strided_conv(self) -> int:
        """Index of the convolution that carries the block's stride (and its groups)."""
        return 0 if self is BlockKind.BASIC else 1


class Shortcut(StrEnum):
    """What is added to the block's main path.

    Attributes:
        IDENTITY: The input itself; stride 1 and equal channels.
        PROJECTION: 1x1 convolution with the block's stride, then BN.
        SUBSAMPLE: x[:, :, ::2, ::2]; parameter-free, of a block that was moved to a stage's start.
        NONE: Nothing.
    """

    IDENTITY = "identity"
    PROJECTION = "projection"
    SUBSAMPLE = "subsample"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One residual block ("layer" in the paper)."""

    channels: tuple[int, ...]
    """Output channels of each convolution of the main path; the last is the block's output."""
    stride: int = 1
    """1 or 2."""
    shortcut: Shortcut = Shortcut.IDENTITY
    groups: int = 1
    """Groups of the 3x3 convolution of a bottleneck; whole-group pruning changes it per block."""
    protected_for: int = 0
    """How many further actions of the lineage may not remove this block: 2 when it was just added
    or moved, since a fresh block has far smaller weights than a trained one (papers.md 1.5 (2))."""

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise InvalidValueError(f"channels={self.channels} must all be at least 1")
        if self.stride not in (1, 2):
            raise InvalidValueError(f"stride={self.stride} must be 1 or 2")
        if self.shortcut is Shortcut.IDENTITY and self.stride != 1:
            raise InvalidValueError("an identity shortcut needs stride 1")
        if self.shortcut is Shortcut.SUBSAMPLE and self.stride != 2:
            raise InvalidValueError("a subsample shortcut needs stride 2")
        if self.groups < 1 or self.protected_for < 0:
            raise InvalidValueError(
                f"groups={self.groups} must be at least 1 and "
                f"protected_for={self.protected_for} at least 0"
            )

    @property
    def out_channels(self) -> int:
        return self.channels[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBlock:
    """A block together with where it stands."""

    stage: int
    """1 to 4."""
    index: int
    """Position in its stage, from 0."""
    in_channels: int
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A backbone of four stages (C2..C5, strides 4, 8, 16, 32) behind a 7x7 stem."""

    kind: BlockKind
    stages: tuple[tuple[Block, ...], ...]
    stem_channels: int = 64
    """Output channels of the stem, which is never pruned."""

    def __post_init__(self) -> None:
        if len(self.stages) != NUM_STAGES or not all(self.stages):
            raise InvalidValueError(
                f"an architecture has {NUM_STAGES} stages of at least one block each, "
                f"got {[len(stage) for stage in self.stages]}"
            )
        if self.stem_channels < 1:
            raise InvalidValueError(f"stem_channels={self.stem_channels} must be at least 1")
        for placed in self.placed_blocks():
            _check_placed(self.kind, placed)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of C2, C3, C4 and C5."""
        return tuple(stage[-1].out_channels for stage in self.stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return tuple(len(stage) for stage in self.stages)

    def placed_blocks(self) -> Iterator[PlacedBlock]:
        """Every block in forward order, with its place and input channels."""
        in_channels = self.stem_channels
        for stage, blocks in enumerate(self.stages, start=1):
            for index, block in enumerate(blocks):
                yield PlacedBlock(stage=stage, index=index, in_channels=in_channels, block=block)
                in_channels = block.out_channels

    def with_stage(self, stage: int, blocks: tuple[Block, ...]) -> "Architecture":
        """A copy in which stage number `stage` (1 to 4) consists of `blocks`."""
        stages = tuple(blocks if i == stage else old for i, old in enumerate(self.stages, start=1))
        return replace(self, stages=stages)


def _check_placed(kind: BlockKind, placed: PlacedBlock) -> None:
    block = placed.block
    where = f"stage {placed.stage}, block {placed.index}"
    if len(block.channels) != kind.num_convs:
        raise InvalidValueError(
            f"{where}: a {kind} block has {kind.num_convs} channel numbers, got {block.channels}"
        )
    expected_stride = 2 if placed.stage > 1 and placed.index == 0 else 1
    if block.stride != expected_stride:
        raise InvalidValueError(f"{where}: stride must be {expected_stride}, got {block.stride}")
    keeps_channels = block.shortcut in (Shortcut.IDENTITY, Shortcut.SUBSAMPLE)
    if keeps_channels and placed.in_channels != block.out_channels:
        raise InvalidValueError(
            f"{where}: shortcut {block.shortcut} needs equal channels, "
            f"got {placed.in_channels} -> {block.out_channels}"
        )
    if block.groups > 1:
        if kind is not BlockKind.BOTTLENECK:
            raise InvalidValueError(f"{where}: only bottleneck blocks can be grouped")
        if block.channels[0] % block.groups or block.channels[1] % block.groups:
            raise InvalidValueError(
                f"{where}: channels {block.channels[:2]} must be multiples of groups={block.groups}"
            )


def implied_shortcut(in_channels: int, out_channels: int, stride: int) -> Shortcut:
    """The shortcut of a block of which only channels and stride are known (papers.md 1.4)."""
    if in_channels != out_channels:
        return Shortcut.PROJECTION
    return Shortcut.IDENTITY if stride == 1 else Shortcut.SUBSAMPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preset:
    kind: BlockKind
    depths: tuple[int, int, int, int]
    groups: int = 1
    group_width: int = 64
    """Channels of a group in stage 1, before it doubles per stage."""


_PRESETS = {
    "resnet18": _Preset(kind=BlockKind.BASIC, depths=(2, 2, 2, 2)),
    "resnet34": _Preset(kind=BlockKind.BASIC, depths=(3, 4, 6, 3)),
    "resnet50": _Preset(kind=BlockKind.BOTTLENECK, depths=(3, 4, 6, 3)),
    "resnet101": _Preset(kind=BlockKind.BOTTLENECK, depths=(3, 4, 23, 3)),
    "resnext101_32x4d": _Preset(
        kind=BlockKind.BOTTLENECK, depths=(3, 4, 23, 3), groups=32, group_width=4
    ),
}
PRESETS = tuple(_PRESETS)
"""Names that `preset` knows."""


def preset(name: str, *, base_channels: int = 64) -> Architecture:
    """A published backbone by name.

    Args:
        name: One of `PRESETS`.
        base_channels: Stem channels and width of stage 1; 64 as published. Smaller values give the
            same network at a fraction of the width, as the demo and the tests use.

    Raises:
        InvalidValueError: The name is unknown, or the width cannot be divided into the groups.
    """
    if name not in _PRESETS:
        raise InvalidValueError(f"detector {name!r} is unknown; known: {', '.join(PRESETS)}")
    found = _PRESETS[name]
    bottleneck = found.kind is BlockKind.BOTTLENECK
    stages = []
    in_channels = base_channels
    for stage in range(NUM_STAGES):
        width = base_channels * 2**stage
        mid = width * found.groups * found.group_width // 64
        channels = (mid, mid, 4 * width) if bottleneck else (width, width)
        blocks = []
        for index in range(found.depths[stage]):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append(
                Block(
                    channels=channels,
                    stride=stride,
                    shortcut=implied_shortcut(in_channels, channels[-1], stride),
                    groups=found.groups,
                )
            )
            in_channels = channels[-1]
        stages.append(tuple(blocks))
    return Architecture(kind=found.kind, stages=tuple(stages), stem_channels=base_channels)
