import pytest

from searchd.domain.actions import (
    AddLayer,
    ChannelGroup,
    Move,
    PruneChannels,
    PruneLayer,
    Rearrange,
    can_rearrange,
    describe,
    legal_actions,
    prunable_groups,
    removable_blocks,
)
from searchd.domain.architecture import Block, BlockKind, preset
from searchd.domain.encoding import parse
from searchd.domain.errors import InvalidValueError


def test_resnet18_stage_1_outputs_are_not_prunable_since_they_are_tied_to_the_stem() -> None:
    groups = prunable_groups(preset("resnet18"))
    assert [g.inner for g in groups if g.inner and g.inner[0][0] == 1] == [
        ((1, 0, 0),),
        ((1, 1, 0),),
    ]
    assert [g.blocks for g in groups if g.blocks] == [
        ((2, 0), (2, 1)),
        ((3, 0), (3, 1)),
        ((4, 0), (4, 1)),
    ]


def test_resnet50_groups_are_two_inner_ones_per_block_and_one_per_stage() -> None:
    groups = prunable_groups(preset("resnet50"))
    assert len([g for g in groups if g.inner]) == 2 * 16
    assert [g.channels for g in groups if g.blocks] == [256, 512, 1024, 2048]


def test_residual_groups_follow_skips_across_a_stage_boundary() -> None:
    text = (
        "[(8, 8, 16)], [(8, 8, 24)-(8, 8, 24)], [(8, 8, 32)], [(9, 9, 32)-(9, 9, 32)-(10, 10, 40)]"
    )
    groups = prunable_groups(parse(text, BlockKind.BOTTLENECK, stem_channels=8))
    assert [g.blocks for g in groups if g.blocks] == [
        ((1, 0),),
        ((2, 0), (2, 1)),
        ((3, 0), (4, 0), (4, 1)),
        ((4, 2),),
    ]


def test_grouped_blocks_offer_whole_groups_and_keep_their_outputs() -> None:
    groups = prunable_groups(preset("resnext101_32x4d"))
    assert len(groups) == 3 + 4 + 23 + 3
    assert {(g.channels, g.unit, g.num_units) for g in groups} == {
        (128, 4, 32),
        (256, 8, 32),
        (512, 16, 32),
        (1024, 32, 32),
    }
    assert groups[3].inner == ((2, 0, 0), (2, 0, 1))
    assert not any(g.blocks for g in groups)


def test_inverted_residuals_offer_their_expansion_and_outputs_tied_by_identities() -> None:
    groups = prunable_groups(preset("mobilenet_v2"))
    assert [g.inner for g in groups if g.inner and g.inner[0][0] == 1] == [
        ((1, 0, 0), (1, 0, 1)),
        ((1, 1, 0), (1, 1, 1)),
    ]
    assert [(g.channels, g.blocks) for g in groups if g.blocks] == [
        (24, ((1, 0), (1, 1))),
        (32, ((2, 0), (2, 1), (2, 2))),
        (64, ((3, 0), (3, 1), (3, 2), (3, 3))),
        (96, ((3, 4), (3, 5), (3, 6))),
        (160, ((4, 0), (4, 1), (4, 2))),
        (320, ((4, 3),)),
    ]
    assert all(g.unit == 1 for g in groups)


@pytest.mark.parametrize(
    ("group", "min_channels", "expected"),
    [
        (ChannelGroup(channels=40), 32, 8),
        (ChannelGroup(channels=32), 32, 0),
        (ChannelGroup(channels=16), 32, 0),
        (ChannelGroup(channels=128, unit=4, min_units=2), 32, 24),
        (ChannelGroup(channels=128, unit=4, min_units=2), 30, 24),  # 7 groups would be 28 channels
        (ChannelGroup(channels=1024, unit=32, min_units=2), 1, 30),
    ],
)
def test_units_go_down_to_the_floor_and_a_grouped_block_stays_grouped(
    group: ChannelGroup, min_channels: int, expected: int
) -> None:
    assert group.spare_units(min_channels) == expected


def test_pruning_is_legal_while_a_whole_group_can_go() -> None:
    text = ", ".join(["[(8, 8, 16)]"] * 4)
    architecture = parse(text, BlockKind.BOTTLENECK, groups=4, stem_channels=8)
    assert "prune_channels" in legal_actions(architecture, min_channels=6)
    assert "prune_channels" not in legal_actions(architecture, min_channels=7)


def test_only_identity_blocks_of_mobilenet_can_be_removed() -> None:
    assert removable_blocks(preset("mobilenet_v2")) == (
        (1, 1),
        (2, 1),
        (2, 2),
        (3, 1),
        (3, 2),
        (3, 3),
        (3, 5),
        (3, 6),
        (4, 1),
        (4, 2),
    )


def test_removable_blocks_are_unprotected_identities_that_leave_a_stage_filled() -> None:
    architecture = preset("resnet18")
    assert removable_blocks(architecture) == ((1, 0), (1, 1), (2, 1), (3, 1), (4, 1))
    entry, last = architecture.stages[3]
    protected = Block(channels=last.channels, protected_for=1)
    assert (4, 1) not in removable_blocks(architecture.with_stage(4, (entry, protected)))
    alone = architecture.with_stage(1, architecture.stages[0][:1])
    assert (1, 0) not in removable_blocks(alone)


@pytest.mark.parametrize(
    ("stage", "move", "expected"),
    [
        (1, Move.LAST_TO_NEXT, True),
        (3, Move.LAST_TO_NEXT, True),
        (4, Move.LAST_TO_NEXT, False),  # there is no stage 5
        (1, Move.FIRST_TO_PREVIOUS, False),  # there is no stage 0
        (2, Move.FIRST_TO_PREVIOUS, False),  # its projection changes the width
    ],
)
def test_resnet50_moves(stage: int, move: Move, expected: bool) -> None:
    assert can_rearrange(preset("resnet50"), stage, move) is expected


@pytest.mark.parametrize(
    ("stage", "move", "expected"),
    [
        (1, Move.LAST_TO_NEXT, True),
        (2, Move.LAST_TO_NEXT, True),
        (3, Move.LAST_TO_NEXT, True),
        (2, Move.FIRST_TO_PREVIOUS, False),  # 24 -> 32 channels
        (4, Move.FIRST_TO_PREVIOUS, False),  # 96 -> 160 channels
    ],
)
def test_mobilenet_moves(stage: int, move: Move, expected: bool) -> None:
    assert can_rearrange(preset("mobilenet_v2"), stage, move) is expected


def test_moves_that_need_a_new_lateral_are_legal_by_an_option() -> None:
    resnet = preset("resnet50")
    first = [Rearrange(stage=stage, move=Move.LAST_TO_NEXT) for stage in (1, 2, 3)]
    widening = [
        Rearrange(stage=stage, move=Move.FIRST_TO_PREVIOUS, reinit_lateral=True)
        for stage in (2, 3, 4)
    ]

    legal = legal_actions(resnet, kinds=["rearrange"])["rearrange"]
    more = legal_actions(resnet, kinds=["rearrange"], reinit_laterals=True)["rearrange"]

    assert list(legal) == first
    assert [each for each in more if isinstance(each, Rearrange) and each.reinit_lateral] == (
        widening
    )
    assert len(more) == 6


def test_a_moved_block_can_move_back_and_a_lone_block_cannot_move() -> None:
    moved = parse(
        "[(8, 8)], [(9, 8)-(9, 16)], [(32, 32)], [(64, 64)]", BlockKind.BASIC, stem_channels=8
    )
    assert can_rearrange(moved, 2, Move.FIRST_TO_PREVIOUS)
    assert not can_rearrange(moved, 1, Move.LAST_TO_NEXT)
    assert not can_rearrange(moved, 2, Move.LAST_TO_NEXT)  # C2 would change its width


def test_legal_actions_leave_out_kinds_without_any() -> None:
    smallest = parse("[(8, 8)], [(8, 16)], [(8, 32)], [(8, 64)]", BlockKind.BASIC, stem_channels=8)
    legal = legal_actions(smallest, min_channels=64, max_depth=1)
    assert legal == {}
    legal = legal_actions(smallest, min_channels=8, kinds=["prune_channels", "add_layer"])
    assert legal == {
        "prune_channels": (PruneChannels(fraction=0.05, min_channels=8),),
        "add_layer": (AddLayer(stage=1), AddLayer(stage=2), AddLayer(stage=3), AddLayer(stage=4)),
    }
    assert set(legal_actions(preset("resnet18"))) == {
        "prune_channels",
        "prune_layer",
        "add_layer",
        "rearrange",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PruneChannels(fraction=1.0), "fraction=1.0"),
        (lambda: PruneChannels(min_channels=0), "min_channels=0"),
        (lambda: AddLayer(stage=5), "stage=5"),
        (lambda: Rearrange(stage=0, move=Move.LAST_TO_NEXT), "stage=0"),
    ],
)
def test_impossible_action_is_refused(make: object, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        make()  # type: ignore[operator]  # a constructor call


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (PruneChannels(fraction=0.05), "prune 5% of channels"),
        (PruneLayer(), "prune a layer"),
        (AddLayer(stage=2), "add a layer to stage 2"),
        (
            Rearrange(stage=3, move=Move.LAST_TO_NEXT),
            "move stage 3's last layer to stage 4",
        ),
        (
            Rearrange(stage=3, move=Move.FIRST_TO_PREVIOUS),
            "move stage 3's first layer to stage 2",
        ),
    ],
)
def test_description_of_an_action(
    action: PruneChannels | PruneLayer | AddLayer | Rearrange, text: str
) -> None:
    assert describe(action) == text
