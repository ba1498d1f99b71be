"""A student's backbone as a value: stages of blocks. Standard library only.

Joint-DetNAS sections A.1.1 and B; docs/papers.md 1.4, 1.5. "Stage" in this module is a stage of the
backbone. Stages are numbered 1 to 4 in specs, actions and messages; tuples are indexed from 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from searchd.domain.errors import InvalidValueError
from searchd.domain.suggestions import unknown

NUM_STAGES = 4
STAGE_STRIDES = (4, 8, 16, 32)
"""Input pixels per cell of each stage's output (C2 to C5)."""


class BlockKind(StrEnum):
    """Kind of block that the backbone consists of.

    Attributes:
        BASIC: 3x3, 3x3 (ResNet-18/34); channels (c1, c_out).
        BOTTLENECK: 1x1, 3x3, 1x1 (ResNet-50 and up, ResNeXt if grouped); channels (c1, c2, c_out).
        INVERTED_RESIDUAL: 1x1 expansion, depthwise 3x3, linear 1x1 (MobileNetV2); channels
            (e, c_out), where e is the width of both the expansion and the depthwise convolution.
    """

    BASIC = "basic"
    BOTTLENECK = "bottleneck"
    INVERTED_RESIDUAL = "inverted_residual"

    @property
    def num_channels(self) -> int:
        """Length of `Block.channels`."""
        return 3 if self is BlockKind.BOTTLENECK else 2

    @property
    def num_convs(self) -> int:
        """Number of convolutions on the main path."""
        return 2 if self is BlockKind.BASIC else 3

    @property
    def strided_conv(self) -> int:
        """Index of the convolution that has the block's stride and its groups."""
        return 0 if self is BlockKind.BASIC else 1

    @property
    def stem_channels(self) -> int:
        """The published value of `Architecture.stem_channels`."""
        return 32 if self is BlockKind.INVERTED_RESIDUAL else 64

    def conv_channels(self, channels: tuple[int, ...]) -> tuple[int, ...]:
        """Return every main-path convolution's output channels, given `Block.channels`."""
        return (channels[0], *channels) if self is BlockKind.INVERTED_RESIDUAL else channels

    def block_channels(self, conv_channels: tuple[int, ...]) -> tuple[int, ...]:
        """Return `Block.channels`, given every main-path convolution's output channels."""
        return conv_channels[1:] if self is BlockKind.INVERTED_RESIDUAL else conv_channels

    def conv_groups(self, block: "Block") -> tuple[int, ...]:
        """Return the number of groups of every convolution of the main path."""
        depthwise = self is BlockKind.INVERTED_RESIDUAL
        strided = block.channels[0] if depthwise else block.groups
        return tuple(strided if i == self.strided_conv else 1 for i in range(self.num_convs))


class Shortcut(StrEnum):
    """What is added to the output of the block's main path.

    Attributes:
        IDENTITY: The input itself, for stride 1 and equal channels.
        PROJECTION: A 1x1 convolution with the block's stride, then BN.
        SUBSAMPLE: x[:, :, ::2, ::2], without parameters, for a block moved to a stage's start.
        NONE: Nothing, for an inverted residual that changes channels or stride.
    """

    IDENTITY = "identity"
    PROJECTION = "projection"
    SUBSAMPLE = "subsample"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of the backbone, which Joint-DetNAS calls a layer."""

    channels: tuple[int, ...]
    """Output channels of the main path's convolutions as `BlockKind` lists them; the last number is
    the output of the block."""
    stride: int = 1
    """Stride of the block, 1 or 2."""
    shortcut: Shortcut = Shortcut.IDENTITY
    """What is added to the main path."""
    groups: int = 1
    """Groups of the 3x3 convolution of a bottleneck. Channel pruning can change it per block."""
    deformable: bool = False
    """Whether the strided 3x3 convolution samples at learned offsets (DCNv2). Only for basic and
    bottleneck blocks. It belongs to the block, so a moved block stays deformable."""
    protected_for: int = 0
    """Number of further actions of the lineage that may not remove this block. It is 2 for a new or
    moved block, since new weights are far smaller than trained ones (docs/papers.md 1.5 (2))."""

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
        """Output channels of the block."""
        return self.channels[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedBlock:
    """A block and its position in the backbone."""

    stage: int
    """Number of its stage, 1 to 4."""
    index: int
    """Position in its stage, from 0."""
    in_channels: int
    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A backbone: a stem, then four stages (C2 to C5, with strides 4, 8, 16 and 32).

    The stem of basic and bottleneck backbones is a 7x7 convolution and a max-pooling (stride 4).
    That of inverted residuals is a 3x3 convolution and a depthwise separable one with half as many
    outputs, MobileNetV2's first block (stride 2); so stage 1 starts with stride 2.

    Raises:
        InvalidValueError: The blocks do not form a valid backbone; the message names the block.
    """

    kind: BlockKind
    stages: tuple[tuple[Block, ...], ...]
    """The blocks of each of the 4 stages, in forward order."""
    stem_channels: int = 64
    """Output channels of the stem's first convolution. The stem is never pruned."""

    def __post_init__(self) -> None:
        if len(self.stages) != NUM_STAGES or not all(self.stages):
            raise InvalidValueError(
                f"an architecture has {NUM_STAGES} stages of at least one block each, "
                f"got {[len(stage) for stage in self.stages]}"
            )
        if self.stem_channels < 1:
            raise InvalidValueError(f"stem_channels={self.stem_channels} must be at least 1")
        if self.kind is BlockKind.INVERTED_RESIDUAL and self.stem_channels % 2:
            raise InvalidValueError(
                f"stem_channels={self.stem_channels} must be even: the stem of inverted residuals "
                "halves them"
            )
        for placed in self.placed_blocks():
            _check_placed(self.kind, placed)

    @property
    def stem_out_channels(self) -> int:
        """Output channels of the stem, which are the input channels of stage 1."""
        return stem_out_channels(self.kind, self.stem_channels)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Output channels of the four stages, C2 to C5."""
        return tuple(stage[-1].out_channels for stage in self.stages)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Groups of every block, for each stage. The text form of an architecture lacks them."""
        return tuple(tuple(block.groups for block in stage) for stage in self.stages)

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of blocks in each stage."""
        return tuple(len(stage) for stage in self.stages)

    def placed_blocks(self) -> Iterator[PlacedBlock]:
        """Yield every block in forward order, with its position and input channels."""
        in_channels = self.stem_out_channels
        for stage, blocks in enumerate(self.stages, start=1):
            for index, block in enumerate(blocks):
                yield PlacedBlock(stage=stage, index=index, in_channels=in_channels, block=block)
                in_channels = block.out_channels

    def with_stage(self, stage: int, blocks: tuple[Block, ...]) -> "Architecture":
        """Return a copy in which stage `stage` (1 to 4) consists of `blocks`."""
        stages = tuple(blocks if i == stage else old for i, old in enumerate(self.stages, start=1))
        return replace(self, stages=stages)


def stem_out_channels(kind: BlockKind, stem_channels: int) -> int:
    """Return the output channels of the stem, given those of its first convolution."""
    return stem_channels // 2 if kind is BlockKind.INVERTED_RESIDUAL else stem_channels


def entry_stride(kind: BlockKind, stage: int) -> int:
    """Return the stride of the first block of a stage (1 to 4)."""
    return 2 if stage > 1 or kind is BlockKind.INVERTED_RESIDUAL else 1


def implied_shortcut(kind: BlockKind, in_channels: int, out_channels: int, stride: int) -> Shortcut:
    """Return the shortcut that follows from a block's channels and stride
    (docs/papers.md 1.4, 1.5)."""
    if in_channels == out_channels and stride == 1:
        return Shortcut.IDENTITY
    if kind is BlockKind.INVERTED_RESIDUAL:
        return Shortcut.NONE
    return Shortcut.PROJECTION if in_channels != out_channels else Shortcut.SUBSAMPLE


def _check_placed(kind: BlockKind, placed: PlacedBlock) -> None:
    block = placed.block
    where = f"stage {placed.stage}, block {placed.index}"
    if len(block.channels) != kind.num_channels:
        raise InvalidValueError(
            f"{where}: {kind} blocks have {kind.num_channels} channel numbers, got {block.channels}"
        )
    expected_stride = entry_stride(kind, placed.stage) if placed.index == 0 else 1
    if block.stride != expected_stride:
        raise InvalidValueError(f"{where}: stride must be {expected_stride}, got {block.stride}")
    _check_shortcut(kind, placed, where)
    if block.groups > 1:
        if kind is not BlockKind.BOTTLENECK:
            raise InvalidValueError(f"{where}: only bottleneck blocks can be grouped")
        if block.channels[0] % block.groups or block.channels[1] % block.groups:
            raise InvalidValueError(
                f"{where}: channels {block.channels[:2]} must be multiples of groups={block.groups}"
            )
    if block.deformable and kind is BlockKind.INVERTED_RESIDUAL:
        raise InvalidValueError(f"{where}: the depthwise convolution of {kind} is not deformable")


def _check_shortcut(kind: BlockKind, placed: PlacedBlock, where: str) -> None:
    shortcut, out_channels = placed.block.shortcut, placed.block.out_channels
    keeps_channels = shortcut in (Shortcut.IDENTITY, Shortcut.SUBSAMPLE)
    if keeps_channels and placed.in_channels != out_channels:
        raise InvalidValueError(
            f"{where}: shortcut {shortcut} needs equal channels, "
            f"got {placed.in_channels} -> {out_channels}"
        )
    without_parameters = (Shortcut.IDENTITY, Shortcut.NONE)
    if kind is BlockKind.INVERTED_RESIDUAL and shortcut not in without_parameters:
        raise InvalidValueError(f"{where}: the shortcut of {kind} is identity or none")
    if kind is not BlockKind.INVERTED_RESIDUAL and shortcut is Shortcut.NONE:
        raise InvalidValueError(f"{where}: {kind} blocks need a shortcut")


_MOBILENET_V2 = (
    ((2, 24),),
    ((3, 32),),
    ((4, 64), (3, 96)),
    ((3, 160), (1, 320)),
)
"""For each stage, (number of blocks, output channels) of its sequences of equal blocks, for a stem
of 32 channels (docs/papers.md 1.5)."""
_EXPANSION = 6
"""Ratio of the expansion to the input channels in every published inverted residual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preset:
    """What describes a published backbone."""

    kind: BlockKind
    depths: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Blocks per stage; zeros for MobileNetV2, whose blocks `_MOBILENET_V2` lists."""
    base_channels: int = 64
    """Published outputs of the stem's first convolution."""
    groups: int = 1
    group_width: int = 64
    """Channels per group in stage 1. The width doubles with every stage."""


_PRESETS = {
    "resnet18": _Preset(kind=BlockKind.BASIC, depths=(2, 2, 2, 2)),
    "resnet34": _Preset(kind=BlockKind.BASIC, depths=(3, 4, 6, 3)),
    "resnet50": _Preset(kind=BlockKind.BOTTLENECK, depths=(3, 4, 6, 3)),
    "resnet101": _Preset(kind=BlockKind.BOTTLENECK, depths=(3, 4, 23, 3)),
    "resnext50_32x4d": _Preset(
        kind=BlockKind.BOTTLENECK, depths=(3, 4, 6, 3), groups=32, group_width=4
    ),
    "resnext101_32x4d": _Preset(
        kind=BlockKind.BOTTLENECK, depths=(3, 4, 23, 3), groups=32, group_width=4
    ),
    # DICOD's "QR50", ResNet-50 with a quarter of all channels (docs/papers.md 5.4).
    "qr50": _Preset(kind=BlockKind.BOTTLENECK, depths=(3, 4, 6, 3), base_channels=16),
    "mobilenet_v2": _Preset(kind=BlockKind.INVERTED_RESIDUAL, base_channels=32),
}
PRESETS = tuple(_PRESETS)
"""Names of the published backbones."""


def preset(name: str, *, base_channels: int | None = None) -> Architecture:
    """Return a published backbone.

    Args:
        name: One of `PRESETS`.
        base_channels: Outputs of the stem's first convolution; all widths scale in proportion to
            it. None: as published (64; 16 for qr50, 32 for mobilenet_v2). The demo and the tests
            use small values.

    Raises:
        InvalidValueError: The name is unknown, or a width would not be an integer.
    """
    if name not in _PRESETS:
        raise InvalidValueError(unknown("backbone", name, PRESETS))
    found = _PRESETS[name]
    base = found.base_channels if base_channels is None else base_channels
    widths = _mobilenet_widths(base) if not any(found.depths) else _resnet_widths(found, base)
    return with_implied_shortcuts(found.kind, widths, groups=found.groups, stem_channels=base)


def with_implied_shortcuts(
    kind: BlockKind,
    widths: Sequence[Sequence[tuple[int, ...]]],
    *,
    groups: int | Sequence[Sequence[int]] = 1,
    stem_channels: int,
) -> Architecture:
    """Return the architecture whose strides and shortcuts follow from its channels
    (docs/papers.md 1.4).

    Args:
        kind: Kind of all blocks.
        widths: `Block.channels` of every block of every stage.
        groups: Groups of the 3x3 convolution: one number for all blocks, or one for every block of
            every stage.
        stem_channels: Outputs of the stem's first convolution.

    Raises:
        InvalidValueError: The channels and groups do not describe a valid architecture.
    """
    by_stage = [[groups] * len(w) for w in widths] if isinstance(groups, int) else groups
    if [len(stage) for stage in by_stage] != [len(stage) for stage in widths]:
        raise InvalidValueError(
            f"groups={groups} must be one number, or one for each block of stages with "
            f"{[len(stage) for stage in widths]} blocks"
        )
    in_channels = stem_out_channels(kind, stem_channels)
    stages = []
    for stage, stage_widths in enumerate(widths, start=1):
        blocks: list[Block] = []
        for index, channels in enumerate(stage_widths):
            stride = 1 if index else entry_stride(kind, stage)
            try:
                block = Block(
                    channels=channels,
                    stride=stride,
                    shortcut=implied_shortcut(kind, in_channels, channels[-1], stride),
                    groups=by_stage[stage - 1][index],
                )
            except InvalidValueError as error:
                raise InvalidValueError(f"stage {stage}, block {index}: {error}") from error
            blocks.append(block)
            in_channels = channels[-1]
        stages.append(tuple(blocks))
    return Architecture(kind=kind, stages=tuple(stages), stem_channels=stem_channels)


def _resnet_widths(found: _Preset, base: int) -> list[list[tuple[int, ...]]]:
    widths: list[list[tuple[int, ...]]] = []
    for stage, depth in enumerate(found.depths):
        width = base * 2**stage
        mid = width * found.groups * found.group_width // 64
        bottleneck = found.kind is BlockKind.BOTTLENECK
        widths.append([(mid, mid, 4 * width) if bottleneck else (width, width)] * depth)
    return widths


def _mobilenet_widths(base: int) -> list[list[tuple[int, ...]]]:
    if base % 4:
        raise InvalidValueError(
            f"base_channels={base} must be a multiple of 4 for mobilenet_v2, whose stem and first "
            "stage have 32, 16 and 24 channels"
        )
    in_channels = base // 2
    widths: list[list[tuple[int, ...]]] = []
    for sequences in _MOBILENET_V2:
        stage: list[tuple[int, ...]] = []
        for depth, published in sequences:
            for _ in range(depth):
                out_channels = published * base // 32
                stage.append((_EXPANSION * in_channels, out_channels))
                in_channels = out_channels
        widths.append(stage)
    return widths
