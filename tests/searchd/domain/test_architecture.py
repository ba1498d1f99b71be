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


def test_base_channels_scale_every_width() -> None:
    assert preset("resnet18", base_channels=16).out_channels == (16, 32, 64, 128)


def test_unknown_preset_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidValueError, match="'vgg16' is unknown.*resnet18"):
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
    ("in_channels", "out_channels", "stride", "shortcut"),
    [
        (64, 64, 1, Shortcut.IDENTITY),
        (64, 64, 2, Shortcut.SUBSAMPLE),
        (64, 128, 1, Shortcut.PROJECTION),
        (64, 128, 2, Shortcut.PROJECTION),
    ],
)
def test_shortcut_follows_from_channels_and_stride(
    in_channels: int, out_channels: int, stride: int, shortcut: Shortcut
) -> None:
    assert implied_shortcut(in_channels, out_channels, stride) is shortcut


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
        (1, Block(channels=(8, 8, 8)), "a basic block has 2 channel numbers"),
        (2, Block(channels=(16, 16), shortcut=Shortcut.PROJECTION), "stage 2, block 0: stride"),
        (1, Block(channels=(8, 9)), "needs equal channels, got 8 -> 9"),
        (
            1,
            Block(channels=(8, 8), groups=2),
            "only bottleneck blocks can be grouped",
        ),
    ],
)
def test_block_in_the_wrong_place_is_refused(stage: int, block: Block, message: str) -> None:
    stages = list(tiny_stages())
    stages[stage - 1] = (block,)
    with pytest.raises(InvalidValueError, match=message):
        Architecture(kind=BlockKind.BASIC, stages=tuple(stages), stem_channels=8)


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


def test_stride_sits_on_the_3x3_convolution() -> None:
    assert (BlockKind.BASIC.num_convs, BlockKind.BASIC.strided_conv) == (2, 0)
    assert (BlockKind.BOTTLENECK.num_convs, BlockKind.BOTTLENECK.strided_conv) == (3, 1)
