import pytest

from searchd.domain.architecture import (
    Architecture,
    Block,
    BlockKind,
    Shortcut,
    implied_shortcut,
    preset,
)
from searchd.domain.errors import InvalidValueError


def tiny_stages() -> tuple[tuple[Block, ...], ...]:
    return (
        (Block(channels=(8, 8)), Block(channels=(8, 8))),
        (Block(channels=(16, 16), stride=2, shortcut=Shortcut.PROJECTION),),
        (Block(channels=(32, 32), stride=2, shortcut=Shortcut.PROJECTION),),
        (Block(channels=(64, 64), stride=2, shortcut=Shortcut.PROJECTION),),
    )


def test_resnet50_has_the_published_depths_and_widths() -> None:
    architecture = preset("resnet50")
    assert architecture.depths == (3, 4, 6, 3)
    assert architecture.out_channels == (256, 512, 1024, 2048)
    assert architecture.stages[0][0].shortcut is Shortcut.PROJECTION
    assert architecture.stages[0][1].shortcut is Shortcut.IDENTITY


def test_resnet18_stage_1_is_tied_to_the_stem_by_an_identity() -> None:
    assert preset("resnet18").stages[0][0].shortcut is Shortcut.IDENTITY


def test_resnext101_32x4d_has_128_channels_in_32_groups_in_stage_1() -> None:
    block = preset("resnext101_32x4d").stages[0][0]
    assert block.channels == (128, 128, 256)
    assert block.groups == 32


def test_resnext50_32x4d_is_resnet50_in_depth_and_output() -> None:
    architecture = preset("resnext50_32x4d")
    assert architecture.depths == (3, 4, 6, 3)
    assert architecture.stages[3][2].channels == (1024, 1024, 2048)
    assert architecture.groups == ((32,) * 3, (32,) * 4, (32,) * 6, (32,) * 3)


def test_qr50_is_resnet50_with_a_quarter_of_all_channels() -> None:
    assert preset("qr50") == preset("resnet50", base_channels=16)
    assert preset("qr50").stages[0][0].channels == (16, 16, 64)


def test_mobilenet_v2_has_the_published_stages_and_expands_sixfold() -> None:
    architecture = preset("mobilenet_v2")
    assert architecture.out_channels == (24, 32, 96, 320)
    assert (architecture.stem_channels, architecture.stem_out_channels) == (32, 16)
    assert [[b.channels for b in stage] for stage in architecture.stages] == [
        [(96, 24), (144, 24)],
        [(144, 32), (192, 32), (192, 32)],
        [(192, 64), *[(384, 64)] * 3, (384, 96), (576, 96), (576, 96)],
        [(576, 160), (960, 160), (960, 160), (960, 320)],
    ]
    assert [[b.stride for b in stage] for stage in architecture.stages] == [
        [2, 1],
        [2, 1, 1],
        [2, 1, 1, 1, 1, 1, 1],
        [2, 1, 1, 1],
    ]


def test_mobilenet_v2_skips_exactly_where_stride_and_channels_stay() -> None:
    stage_3 = preset("mobilenet_v2").stages[2]
    none, identity = Shortcut.NONE, Shortcut.IDENTITY
    assert [b.shortcut for b in stage_3] == [none, *[identity] * 3, none, identity, identity]


@pytest.mark.parametrize(
    ("name", "base_channels", "out_channels"),
    [
        ("resnet18", 16, (16, 32, 64, 128)),
        ("resnet50", 16, (64, 128, 256, 512)),
        ("mobilenet_v2", 8, (6, 8, 24, 80)),
    ],
)
def test_base_channels_scale_every_width(
    name: str, base_channels: int, out_channels: tuple[int, ...]
) -> None:
    architecture = preset(name, base_channels=base_channels)
    assert architecture.out_channels == out_channels
    assert architecture.stem_channels == base_channels


def test_base_channels_that_would_split_a_channel_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="base_channels=6 must be a multiple of 4"):
        preset("mobilenet_v2", base_channels=6)


def test_unknown_preset_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidValueError, match='no backbone "vgg16"; the backbones are resnet18'):
        preset("vgg16")


def test_placed_blocks_know_their_input_channels() -> None:
    placed = list(
        Architecture(kind=BlockKind.BASIC, stages=tiny_stages(), stem_channels=8).placed_blocks()
    )
    assert [(p.stage, p.index, p.in_channels) for p in placed] == [
        (1, 0, 8),
        (1, 1, 8),
        (2, 0, 8),
        (3, 0, 16),
        (4, 0, 32),
    ]


def test_with_stage_replaces_only_that_stage() -> None:
    architecture = Architecture(kind=BlockKind.BASIC, stages=tiny_stages(), stem_channels=8)
    changed = architecture.with_stage(1, (Block(channels=(4, 8)),))
    assert changed.depths == (1, 1, 1, 1)
    assert changed.stages[1:] == architecture.stages[1:]


@pytest.mark.parametrize(
    ("kind", "in_channels", "out_channels", "stride", "shortcut"),
    [
        (BlockKind.BASIC, 64, 64, 1, Shortcut.IDENTITY),
        (BlockKind.BASIC, 64, 64, 2, Shortcut.SUBSAMPLE),
        (BlockKind.BOTTLENECK, 64, 128, 1, Shortcut.PROJECTION),
        (BlockKind.BOTTLENECK, 64, 128, 2, Shortcut.PROJECTION),
        (BlockKind.INVERTED_RESIDUAL, 64, 64, 1, Shortcut.IDENTITY),
        (BlockKind.INVERTED_RESIDUAL, 64, 64, 2, Shortcut.NONE),
        (BlockKind.INVERTED_RESIDUAL, 64, 128, 1, Shortcut.NONE),
        (BlockKind.INVERTED_RESIDUAL, 64, 128, 2, Shortcut.NONE),
    ],
)
def test_shortcut_follows_from_kind_channels_and_stride(
    kind: BlockKind, in_channels: int, out_channels: int, stride: int, shortcut: Shortcut
) -> None:
    assert implied_shortcut(kind, in_channels, out_channels, stride) is shortcut


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"channels": ()}, "at least 1"),
        ({"channels": (8, 0)}, "at least 1"),
        ({"channels": (8, 8), "stride": 3}, "stride=3"),
        ({"channels": (8, 8), "stride": 2}, "identity shortcut needs stride 1"),
        ({"channels": (8, 8), "shortcut": Shortcut.SUBSAMPLE}, "subsample shortcut needs stride 2"),
        ({"channels": (8, 8), "groups": 0}, "groups=0"),
        ({"channels": (8, 8), "protected_for": -1}, "protected_for=-1"),
    ],
)
def test_impossible_block_is_refused(block: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Block(**block)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("stage", "block", "message"),
    [
        (1, Block(channels=(8, 8, 8)), "basic blocks have 2 channel numbers"),
        (2, Block(channels=(16, 16), shortcut=Shortcut.PROJECTION), "stage 2, block 0: stride"),
        (1, Block(channels=(8, 9)), "needs equal channels, got 8 -> 9"),
        (
            1,
            Block(channels=(8, 8), groups=2),
            "only bottleneck blocks can be grouped",
        ),
        (1, Block(channels=(8, 8), shortcut=Shortcut.NONE), "basic blocks need a shortcut"),
    ],
)
def test_block_in_the_wrong_place_is_refused(stage: int, block: Block, message: str) -> None:
    stages = list(tiny_stages())
    stages[stage - 1] = (block,)
    with pytest.raises(InvalidValueError, match=message):
        Architecture(kind=BlockKind.BASIC, stages=tuple(stages), stem_channels=8)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block(channels=(24, 6)), "stage 1, block 0: stride must be 2, got 1"),
        (
            Block(channels=(24, 6), stride=2, shortcut=Shortcut.PROJECTION),
            "the shortcut of inverted_residual is identity or none",
        ),
        (
            Block(channels=(24, 6), stride=2, shortcut=Shortcut.NONE, groups=2),
            "only bottleneck blocks can be grouped",
        ),
        (
            Block(channels=(24, 6), stride=2, shortcut=Shortcut.NONE, deformable=True),
            "the depthwise convolution of inverted_residual is not deformable",
        ),
    ],
)
def test_inverted_residual_that_is_none_is_refused(block: Block, message: str) -> None:
    mobilenet = preset("mobilenet_v2", base_channels=8)
    with pytest.raises(InvalidValueError, match=message):
        mobilenet.with_stage(1, (block,))


def test_pruned_inverted_residual_may_have_equal_channels_and_no_shortcut() -> None:
    mobilenet = preset("mobilenet_v2", base_channels=8)
    narrowed = Block(channels=(240, 40), shortcut=Shortcut.NONE)
    assert mobilenet.with_stage(4, (*mobilenet.stages[3][:-1], narrowed)).out_channels[3] == 40


def test_stem_of_inverted_residuals_halves_an_even_number_of_channels() -> None:
    stages = preset("mobilenet_v2", base_channels=8).stages
    with pytest.raises(InvalidValueError, match="stem_channels=7 must be even"):
        Architecture(kind=BlockKind.INVERTED_RESIDUAL, stages=stages, stem_channels=7)


def test_groups_must_divide_the_channels() -> None:
    block = Block(channels=(6, 6, 8), shortcut=Shortcut.PROJECTION, groups=4)
    rest = tuple(
        (Block(channels=(8, 8, 8 * 2**i), stride=2, shortcut=Shortcut.PROJECTION),)
        for i in range(1, 4)
    )
    with pytest.raises(InvalidValueError, match="multiples of groups=4"):
        Architecture(kind=BlockKind.BOTTLENECK, stages=((block,), *rest), stem_channels=8)


def test_architecture_needs_four_filled_stages() -> None:
    with pytest.raises(InvalidValueError, match=r"4 stages.*got \[2, 1, 1\]"):
        Architecture(kind=BlockKind.BASIC, stages=tiny_stages()[:3], stem_channels=8)
    with pytest.raises(InvalidValueError, match="stem_channels=0"):
        Architecture(kind=BlockKind.BASIC, stages=tiny_stages(), stem_channels=0)


@pytest.mark.parametrize(
    ("kind", "conv_channels", "conv_groups"),
    [
        (BlockKind.BASIC, (4, 8), (1, 1)),
        (BlockKind.BOTTLENECK, (4, 4, 8), (1, 2, 1)),
        (BlockKind.INVERTED_RESIDUAL, (4, 4, 8), (1, 4, 1)),
    ],
)
def test_expansion_counts_for_two_convolutions_and_is_the_depthwise_ones_groups(
    kind: BlockKind, conv_channels: tuple[int, ...], conv_groups: tuple[int, ...]
) -> None:
    channels = (4, 4, 8) if kind is BlockKind.BOTTLENECK else (4, 8)
    block = Block(channels=channels, groups=2 if kind is BlockKind.BOTTLENECK else 1)
    assert kind.conv_channels(channels) == conv_channels
    assert kind.block_channels(conv_channels) == channels
    assert kind.conv_groups(block) == conv_groups
    assert (kind.num_channels, kind.num_convs) == (len(channels), len(conv_channels))


def test_stride_sits_on_the_3x3_convolution() -> None:
    assert [kind.strided_conv for kind in BlockKind] == [0, 1, 1]
