"""Rearrange: strides move, parameters stay (docs/papers.md 1.5 (4))."""

import random
from dataclasses import replace

import pytest
import torch

from detection.build import Student
from detection.morphism.rearrange import rearrange
from detection.morphism.weights import split_blocks
from searchd.domain.actions import Move, Rearrange, can_rearrange, legal_actions
from searchd.domain.architecture import Architecture, Block, BlockKind, Shortcut
from searchd.domain.detector import Family
from searchd.domain.errors import IllegalActionError
from tests.detection.morphism.students import (
    BASIC,
    BOTTLENECK,
    DEFORMABLE,
    GROUPED,
    INVERTED,
    REARRANGED,
    channels,
    image,
    make_student,
    outputs,
    shortcuts,
    strides,
)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        (BASIC, ["subsample", "projection"]),
        (BOTTLENECK, ["subsample", "projection"]),
        (GROUPED, ["subsample", "projection"]),
        (DEFORMABLE, ["subsample", "projection"]),
        (INVERTED, ["none", "none"]),
    ],
    ids=["basic", "bottleneck", "grouped", "deformable", "inverted"],
)
def test_last_block_becomes_the_next_stages_strided_entry(
    architecture: Architecture, expected: list[str], stage: int
) -> None:
    parent = make_student(architecture)

    child = move(parent, stage, Move.LAST_TO_NEXT)

    depths = list(architecture.depths)
    depths[stage - 1] -= 1
    depths[stage] += 1
    assert list(child.detector.architecture.depths) == depths
    assert strides(child)[stage] == [2] + [1] * (depths[stage] - 1)
    assert shortcuts(child)[stage] == [*expected, *shortcuts(parent)[stage][1:]]
    assert_same_parameters(parent, child)
    assert_strides_4_to_32(child)


@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, GROUPED, DEFORMABLE, INVERTED])
def test_moving_back_restores_the_student(architecture: Architecture, stage: int) -> None:
    parent = make_student(architecture)

    there = move(parent, stage, Move.LAST_TO_NEXT)
    back = move(there, stage + 1, Move.FIRST_TO_PREVIOUS)

    assert back.detector == parent.detector
    assert back.weights.keys() == parent.weights.keys()
    assert all(back.weights[name] is parent.weights[name] for name in parent.weights)


def test_first_block_becomes_the_previous_stages_last_and_the_next_one_the_entry() -> None:
    parent = make_student(REARRANGED)

    child = move(parent, 3, Move.FIRST_TO_PREVIOUS)

    assert channels(child)[1] == [(9, 10, 24), (11, 10, 24)]
    assert strides(child) == [[1], [2, 1], [2, 1], [2, 1]]
    assert shortcuts(child)[1:3] == [["projection", "identity"], ["subsample", "projection"]]
    assert_same_parameters(parent, child)
    assert_strides_4_to_32(child)


def test_inverted_residual_gains_a_shortcut_where_it_loses_its_stride_at_equal_channels() -> None:
    # As after pruning: the entry of stage 2 has come to the 6 channels of stage 1.
    entry = replace(INVERTED.stages[1][0], channels=(36, 6))
    narrowed = INVERTED.with_stage(2, (entry,))

    child = move(make_student(narrowed), 1, Move.LAST_TO_NEXT)

    assert channels(child)[1] == [(36, 6), (36, 6)]
    assert shortcuts(child)[1] == ["none", "identity"]
    assert_strides_4_to_32(child)


def test_deformable_block_takes_its_offsets_to_a_plain_stage() -> None:
    parent = make_student(DEFORMABLE)
    there = move(move(parent, 2, Move.LAST_TO_NEXT), 3, Move.LAST_TO_NEXT)

    flags = [[b.deformable for b in s] for s in there.detector.architecture.stages]
    assert flags == [[False] * 2, [False], [False, True], [True] * 3]
    assert_same_parameters(parent, there)
    assert_strides_4_to_32(there)


def test_projection_that_moves_stays_a_projection_with_the_other_stride() -> None:
    square = Architecture(
        kind=BlockKind.BASIC,
        stem_channels=8,
        stages=(
            (Block(channels=(8, 8)), Block(channels=(6, 8), shortcut=Shortcut.PROJECTION)),
            (Block(channels=(8, 8), stride=2, shortcut=Shortcut.SUBSAMPLE),),
            (Block(channels=(8, 12), stride=2, shortcut=Shortcut.PROJECTION),),
            (Block(channels=(8, 12), stride=2, shortcut=Shortcut.SUBSAMPLE),),
        ),
    )
    parent = make_student(square)

    child = move(parent, 1, Move.LAST_TO_NEXT)

    assert shortcuts(child)[1] == ["projection", "identity"]
    assert strides(child)[1] == [2, 1]
    assert_same_parameters(parent, child)
    assert_strides_4_to_32(child)


@pytest.mark.parametrize(
    ("stage", "direction"),
    [
        (4, Move.LAST_TO_NEXT),  # no stage 5
        (1, Move.FIRST_TO_PREVIOUS),  # no stage 0
        (2, Move.FIRST_TO_PREVIOUS),  # would widen C2, and its lateral would have to be rebuilt
    ],
)
def test_illegal_moves_are_refused(stage: int, direction: Move) -> None:
    with pytest.raises(IllegalActionError, match=f"does not apply to stage {stage}"):
        move(make_student(BOTTLENECK), stage, direction)


def test_the_only_block_of_a_stage_does_not_move() -> None:
    with pytest.raises(IllegalActionError, match="keep a block"):
        move(make_student(REARRANGED), 1, Move.LAST_TO_NEXT)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_chain_of_legal_moves_keeps_parameters_and_strides(seed: int) -> None:
    rng = random.Random(seed)
    parent = student = make_student((BASIC, BOTTLENECK, INVERTED)[seed])

    for _ in range(20):
        legal = [
            (stage, direction)
            for stage in (1, 2, 3, 4)
            for direction in Move
            if can_rearrange(student.detector.architecture, stage, direction)
        ]
        student = move(student, *rng.choice(legal))

    assert_same_parameters(parent, student)
    assert_strides_4_to_32(student)


@pytest.mark.parametrize("stage", [2, 3, 4])
@pytest.mark.parametrize(
    "architecture",
    [BASIC, BOTTLENECK, GROUPED, DEFORMABLE, INVERTED],
    ids=["basic", "bottleneck", "grouped", "deformable", "inverted"],
)
def test_a_level_whose_width_changes_gets_a_new_lateral_and_nothing_else_does(
    architecture: Architecture, stage: int
) -> None:
    parent = make_student(architecture)
    action = Rearrange(stage=stage, move=Move.FIRST_TO_PREVIOUS, reinit_lateral=True)

    child = rearrange(parent, action, generator=torch.Generator().manual_seed(0))

    widths = [child.detector.architecture.out_channels[i] for i in (stage - 2, stage - 1)]
    assert widths[0] == architecture.stages[stage - 1][0].out_channels
    assert widths[1] == architecture.out_channels[stage - 1]
    lateral = f"neck.lateral_convs.{stage - 2}.conv.weight"
    assert child.weights[lateral].shape == (16, widths[0], 1, 1)
    assert child.weights[lateral].abs().max() > 0
    assert_same_parameters(parent, child, but=lateral)
    assert_strides_4_to_32(child)
    again = rearrange(parent, action, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.weights[lateral], child.weights[lateral])


def test_retinanet_has_no_lateral_at_the_first_level() -> None:
    parent = make_student(BOTTLENECK, family=Family.RETINANET)

    child = rearrange(parent, Rearrange(stage=2, move=Move.FIRST_TO_PREVIOUS, reinit_lateral=True))

    assert_same_parameters(parent, child)
    assert_strides_4_to_32(child)


@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, GROUPED], ids=["b", "n", "g"])
def test_a_projection_of_the_moved_block_starts_as_its_subsampling(
    architecture: Architecture,
) -> None:
    parent = make_student(architecture)
    action = Rearrange(stage=2, move=Move.LAST_TO_NEXT)

    plain, projected = (
        rearrange(parent, replace(action, projection=each)) for each in (False, True)
    )

    assert shortcuts(plain)[2][0] == "subsample"
    assert shortcuts(projected)[2][0] == "projection"
    for was, now in zip(outputs(plain, image()), outputs(projected, image()), strict=True):
        torch.testing.assert_close(now, was, rtol=1e-3, atol=1e-3)  # BN's epsilon
    added = projected.weights.keys() - plain.weights.keys()
    assert {name.rpartition(".")[0] for name in added} == {
        "backbone.layer3.0.downsample.0",
        "backbone.layer3.0.downsample.1",
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_chains_of_moves_with_both_options_run(seed: int) -> None:
    rng = random.Random(seed)
    student = make_student((BASIC, BOTTLENECK, INVERTED)[seed])
    generator = torch.Generator().manual_seed(seed)

    for _ in range(12):
        legal = legal_actions(
            student.detector.architecture,
            kinds=("rearrange",),
            reinit_laterals=True,
            projection=True,
        )
        action = rng.choice(legal["rearrange"])
        assert isinstance(action, Rearrange)
        student = rearrange(student, action, generator=generator)
        assert_strides_4_to_32(student)


def move(student: Student, stage: int, direction: Move) -> Student:
    return rearrange(student, Rearrange(stage=stage, move=direction))


def assert_same_parameters(parent: Student, child: Student, but: str = "") -> None:
    """The same tensors, block by block in forward order, and outside the blocks but for one."""
    before, others_before = split_blocks(parent.weights, parent.detector.architecture)
    after, others_after = split_blocks(child.weights, child.detector.architecture)
    assert len(before) == len(after)
    for was, now in zip([*before, others_before], [*after, others_after], strict=True):
        assert was.keys() == now.keys()
        assert all(was[name] is now[name] for name in was if name != but)


def assert_strides_4_to_32(student: Student) -> None:
    """Loads strictly, so that every lateral has kept its shape, and runs."""
    sizes = [tuple(feature.shape[2:]) for feature in outputs(student, image())[:4]]
    assert sizes == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert all(torch.isfinite(feature).all() for feature in outputs(student, image()))
