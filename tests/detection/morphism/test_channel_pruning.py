"""Channel pruning: one ranking, tied groups, inherited weights (docs/papers.md 1.5 (1))."""

from dataclasses import replace

import pytest
import torch

from detection.build import Student
from detection.morphism import NothingToDo
from detection.morphism.channel_pruning import choose, prune_channels
from searchd.domain.actions import ChannelGroup, PruneChannels, prunable_groups
from searchd.domain.architecture import Architecture, Shortcut
from searchd.domain.detector import Family
from tests.detection.morphism.students import (
    ARCHITECTURES,
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
)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        *((name, Family.FASTER_RCNN) for name in ARCHITECTURES),
        *(("basic", family) for family in Family if family is not Family.FASTER_RCNN),
    ],
)
def test_outputs_stay_when_the_removed_channels_gamma_and_beta_are_zero(
    name: str, family: Family
) -> None:
    architecture = ARCHITECTURES[name]
    parent = make_student(architecture, family=family)
    generator = torch.Generator().manual_seed(0)
    num_zeroed = 0
    for group in prunable_groups(architecture):
        dead = torch.randperm(group.num_units, generator=generator)[: group.num_units // 3]
        for bn in norms_of(group, architecture):
            for vector in ("weight", "bias"):
                # num_units x channels of a unit
                parent.weights[f"{bn}.{vector}"].view(group.num_units, -1)[dead] = 0.0
        num_zeroed += len(dead) * group.unit

    child = prune_channels(
        parent, PruneChannels(fraction=num_zeroed / num_prunable(parent), min_channels=1)
    )

    assert num_prunable(child) == num_prunable(parent) - num_zeroed
    images = image().double()  # rounding of float32 is no difference
    before, after = outputs(parent, images), outputs(child, images)
    for stage in range(4):
        alive = surviving_outputs(parent, stage)
        torch.testing.assert_close(after[stage], before[stage][:, alive], rtol=0, atol=1e-9)
        dead_outputs = before[stage][:, ~alive]
        assert torch.count_nonzero(dead_outputs) == 0
    for was, now in zip(before[4:], after[4:], strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-9)


def test_ranking_is_global_so_one_convolution_can_lose_everything_that_goes() -> None:
    parent = make_student(BOTTLENECK)
    weak = torch.arange(32) % 2 == 0
    parent.weights["backbone.layer3.1.bn2.weight"][weak] = -0.01
    parent.weights["backbone.layer4.0.bn1.weight"][0] = -5.0  # the sign does not count
    parent.weights["backbone.layer4.0.downsample.1.weight"][0] = -5.0

    child = prune_channels(
        parent, PruneChannels(fraction=16 / num_prunable(parent), min_channels=1)
    )

    assert channels(child)[2] == [(32, 32, 128), (32, 16, 128)]
    assert [channels(child)[i] for i in (0, 1, 3)] == [channels(parent)[i] for i in (0, 1, 3)]
    strong = (~weak).nonzero().flatten()
    for name in ("weight", "bias", "running_mean", "running_var"):
        key = f"backbone.layer3.1.bn2.{name}"
        assert torch.equal(child.weights[key], parent.weights[key][strong])
    rows, columns = "backbone.layer3.1.conv2.weight", "backbone.layer3.1.conv3.weight"
    assert torch.equal(child.weights[rows], parent.weights[rows][strong])
    assert torch.equal(child.weights[columns], parent.weights[columns][:, strong])


def test_residual_group_is_ranked_by_its_projection_and_cut_everywhere_it_reaches() -> None:
    parent = make_student(BASIC)
    parent.weights["backbone.layer2.0.downsample.1.weight"][3] = 0.001
    parent.weights["backbone.layer2.1.bn2.weight"][5] = 0.0001  # not what ranks

    child = prune_channels(parent, PruneChannels(fraction=1 / num_prunable(parent), min_channels=1))

    assert channels(child)[1] == [(16, 15), (16, 15)]
    stays = torch.tensor([i for i in range(16) if i != 3])
    for block in ("layer2.0.downsample.0", "layer2.0.conv2", "layer2.1.conv2"):
        key = f"backbone.{block}.weight"
        assert torch.equal(child.weights[key], parent.weights[key][stays])
    for reader in (
        "backbone.layer2.1.conv1",
        "backbone.layer3.0.conv1",
        "backbone.layer3.0.downsample.0",
        "neck.lateral_convs.1.conv",
    ):
        key = f"{reader}.weight"
        assert torch.equal(child.weights[key], parent.weights[key][:, stays])


def test_groups_follow_shortcuts_when_a_stage_holds_two_widths() -> None:
    parent = make_student(REARRANGED)
    # The group of the projection of stage 2 reaches into stage 3, that of stage 3 into stage 4.
    parent.weights["backbone.layer2.0.downsample.1.weight"][:4] = 0.001
    parent.weights["backbone.layer3.2.downsample.1.weight"][:6] = 0.001

    child = prune_channels(
        parent, PruneChannels(fraction=10 / num_prunable(parent), min_channels=1)
    )

    assert [[block[-1] for block in stage] for stage in channels(child)] == [
        [16],
        [20],
        [20, 20, 34],
        [34, 34],
    ]
    assert child.weights["neck.lateral_convs.1.conv.weight"].shape[1] == 20


def test_everything_but_the_backbone_and_lateral_columns_is_untouched() -> None:
    parent = make_student(BOTTLENECK)

    child = prune_channels(parent, PruneChannels(fraction=0.3, min_channels=1))

    assert set(child.weights) == set(parent.weights)
    for name, tensor in parent.weights.items():
        if tensor.shape == child.weights[name].shape:
            assert torch.equal(tensor, child.weights[name]), name
    cut = {name for name, t in parent.weights.items() if t.shape != child.weights[name].shape}
    assert {name.split(".")[0] for name in cut} == {"backbone", "neck"}
    assert {name for name in cut if name.startswith("neck")} <= {
        f"neck.lateral_convs.{i}.conv.weight" for i in range(4)
    }
    assert not any(name.startswith(("backbone.conv1", "backbone.bn1")) for name in cut)


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.2, 0.3])
@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, INVERTED, REARRANGED])
def test_removed_fraction_is_exact_when_the_floor_allows(
    architecture: Architecture, fraction: float
) -> None:
    parent = make_student(architecture)

    child = prune_channels(parent, PruneChannels(fraction=fraction, min_channels=1))

    removed = num_prunable(parent) - num_prunable(child)
    assert removed == round(fraction * num_prunable(parent))
    outputs(child, image())


def test_no_group_falls_below_the_floor_and_then_nothing_is_left_to_do() -> None:
    action = PruneChannels(fraction=0.9, min_channels=12)
    parent = make_student(REARRANGED)

    child = prune_channels(parent, action)

    sizes = [group.channels for group in prunable_groups(child.detector.architecture)]
    before = [group.channels for group in prunable_groups(REARRANGED)]
    assert sizes == [min(size, 12) for size in before]
    with pytest.raises(NothingToDo, match="min_channels=12"):
        prune_channels(child, action)


def test_pruning_less_than_half_a_channel_is_nothing_to_do() -> None:
    parent = make_student(REARRANGED)

    with pytest.raises(NothingToDo, match="is less than one channel"):
        prune_channels(parent, PruneChannels(fraction=0.001, min_channels=1))


def test_grouped_convolution_loses_whole_groups_by_the_mean_of_both_norms() -> None:
    parent = make_student(GROUPED)
    # Stage 3's last block: 4 groups of 8 channels. Group 1 has the smallest mean over both BNs,
    # though group 2 holds the smallest single channel and group 3 the smallest second BN.
    for number, means in ((1, (1.0, 0.02, 1.0, 1.0)), (2, (1.0, 0.04, 1.0, 0.03))):
        gamma = parent.weights[f"backbone.layer3.1.bn{number}.weight"]
        gamma.copy_(torch.tensor(means).repeat_interleave(8))
    parent.weights["backbone.layer3.1.bn1.weight"][16] = 0.0

    child = prune_channels(parent, PruneChannels(fraction=8 / num_prunable(parent), min_channels=1))

    assert channels(child)[2] == [(32, 32, 128), (24, 24, 128)]
    assert child.detector.architecture.groups == ((4, 4), (4, 4), (4, 3), (4, 4))
    stays = torch.tensor([i for i in range(32) if not 8 <= i < 16])
    conv = "backbone.layer3.1.conv{}.weight"
    for number, expected in (
        (1, parent.weights[conv.format(1)][stays]),
        (2, parent.weights[conv.format(2)][stays]),  # each group reads its own 8 inputs
        (3, parent.weights[conv.format(3)][:, stays]),
    ):
        assert torch.equal(child.weights[conv.format(number)], expected)


def test_grouped_convolutions_keep_their_outputs_and_two_groups() -> None:
    parent = make_student(GROUPED)

    child = prune_channels(parent, PruneChannels(fraction=0.9, min_channels=1))

    assert child.detector.architecture.groups == ((2, 2),) * 4
    assert channels(child)[0] == [(4, 4, 32), (4, 4, 32)]
    assert child.detector.architecture.out_channels == GROUPED.out_channels
    outputs(child, image())
    with pytest.raises(NothingToDo):
        prune_channels(child, PruneChannels(fraction=0.9, min_channels=1))


def test_less_than_a_group_is_nothing_to_do() -> None:
    parent = make_student(GROUPED)  # the narrowest group has 2 channels

    with pytest.raises(NothingToDo, match=r"of 240 prunable channels is less than a group of 2"):
        prune_channels(parent, PruneChannels(fraction=1 / 240, min_channels=1))


def test_expansion_and_depthwise_convolution_lose_the_same_channels() -> None:
    parent = make_student(INVERTED)
    block = "backbone.layer2.1"  # 8 -> 48 -> 8
    parent.weights[f"{block}.bn1.weight"][[3, 5]] = torch.tensor([0.0, 0.05])
    parent.weights[f"{block}.bn2.weight"][[3, 5]] = torch.tensor([0.9, 0.05])  # 3's mean is 0.45

    child = prune_channels(parent, PruneChannels(fraction=1 / num_prunable(parent), min_channels=1))

    assert channels(child)[1] == [(36, 8), (47, 8)]
    stays = torch.tensor([i for i in range(48) if i != 5])
    for number in (1, 2):
        for tensor in (f"conv{number}", f"bn{number}"):
            key = f"{block}.{tensor}.weight"
            assert torch.equal(child.weights[key], parent.weights[key][stays])
    last = f"{block}.conv3.weight"
    assert torch.equal(child.weights[last], parent.weights[last][:, stays])


def test_inverted_residuals_outputs_are_ranked_by_the_block_without_shortcut() -> None:
    parent = make_student(INVERTED)
    parent.weights["backbone.layer3.2.bn3.weight"][7] = 0.001
    parent.weights["backbone.layer3.3.bn3.weight"][9] = 0.0001  # not what ranks

    child = prune_channels(parent, PruneChannels(fraction=1 / num_prunable(parent), min_channels=1))

    assert channels(child)[2] == [(48, 16), (96, 16), (96, 23), (144, 23)]
    stays = torch.tensor([i for i in range(24) if i != 7])
    for reader in (
        "backbone.layer3.3.conv1",
        "backbone.layer4.0.conv1",
        "neck.lateral_convs.2.conv",
    ):
        key = f"{reader}.weight"
        assert torch.equal(child.weights[key], parent.weights[key][:, stays])


def test_offsets_of_a_deformable_convolution_read_what_is_left_of_its_inputs() -> None:
    parent = make_student(DEFORMABLE)
    parent.weights["backbone.layer3.1.bn1.weight"][4] = 0.0

    child = prune_channels(parent, PruneChannels(fraction=1 / num_prunable(parent), min_channels=1))

    stays = torch.tensor([i for i in range(32) if i != 4])
    key = "backbone.layer3.1.conv2.conv_offset.weight"
    assert torch.equal(child.weights[key], parent.weights[key][:, stays])
    bias = "backbone.layer3.1.conv2.conv_offset.bias"
    assert child.weights[bias] is parent.weights[bias]


def test_one_stage_detectors_read_c3_with_their_first_lateral_and_retinanet_p6_from_c5() -> None:
    parent = make_student(BASIC, family=Family.RETINANET)
    parent.weights["backbone.layer2.0.downsample.1.weight"][3] = 0.001
    parent.weights["backbone.layer4.0.downsample.1.weight"][5] = 0.001

    child = prune_channels(parent, PruneChannels(fraction=2 / num_prunable(parent), min_channels=1))

    for reader, width, gone in (
        ("lateral_convs.0", 16, 3),
        ("lateral_convs.2", 64, 5),
        ("fpn_convs.3", 64, 5),
    ):
        key = f"neck.{reader}.conv.weight"
        stays = torch.tensor([i for i in range(width) if i != gone])
        assert torch.equal(child.weights[key], parent.weights[key][:, stays])


def test_a_block_keeps_stride_shortcut_and_protection() -> None:
    blocks = (BASIC.stages[1][0], replace(BASIC.stages[1][1], protected_for=2))
    parent = make_student(BASIC.with_stage(2, blocks))

    child = prune_channels(parent, PruneChannels(fraction=0.3, min_channels=1))

    for was, now in zip(
        parent.detector.architecture.placed_blocks(),
        child.detector.architecture.placed_blocks(),
        strict=True,
    ):
        assert replace(now.block, channels=was.block.channels) == was.block


def test_choose_takes_the_next_channel_when_a_group_is_at_its_minimum() -> None:
    weak, strong = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.6, 0.5, 0.4, 0.7])
    groups = [ChannelGroup(channels=3), ChannelGroup(channels=4)]

    kept = choose(groups, [weak, strong], 3 / 7, min_channels=2)

    assert [indices.tolist() for indices in kept] == [[1, 2], [0, 3]]


def test_choose_removes_equal_channels_in_forward_order() -> None:
    groups = [ChannelGroup(channels=3)] * 2

    kept = choose(groups, [torch.ones(3), torch.ones(3)], 4 / 6, min_channels=1)

    assert [indices.tolist() for indices in kept] == [[2], [2]]


def test_choose_takes_a_narrower_unit_when_a_wide_one_does_not_fit_the_rest() -> None:
    groups = [ChannelGroup(channels=12, unit=4), ChannelGroup(channels=4)]
    wide, narrow = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6, 0.7])

    kept = choose(groups, [wide, narrow], 6 / 16, min_channels=1)

    assert [indices.tolist() for indices in kept] == [[1, 2], [2, 3]]


def norms_of(group: ChannelGroup, architecture: Architecture) -> list[str]:
    """Names of all BNs over the group's channels, those that rank included."""
    names = [f"backbone.layer{stage}.{index}.bn{conv + 1}" for stage, index, conv in group.inner]
    last = architecture.kind.num_convs
    for stage, index in group.blocks:
        block = f"backbone.layer{stage}.{index}"
        names.append(f"{block}.bn{last}")
        if architecture.stages[stage - 1][index].shortcut is Shortcut.PROJECTION:
            names.append(f"{block}.downsample.1")
    return names


def surviving_outputs(student: Student, stage: int) -> torch.Tensor:
    """Which output channels of the stage (from 0) have a last BN that is not zeroed."""
    architecture = student.detector.architecture
    index, last = architecture.depths[stage] - 1, architecture.kind.num_convs
    return student.weights[f"backbone.layer{stage + 1}.{index}.bn{last}.weight"] != 0


def num_prunable(student: Student) -> int:
    return sum(group.channels for group in prunable_groups(student.detector.architecture))


def test_choose_leaves_multiples() -> None:
    groups = [ChannelGroup(channels=10), ChannelGroup(channels=8)]
    weak, strong = torch.arange(10) / 100, torch.arange(8) + 1.0

    kept = choose(groups, [weak, strong], 7 / 18, min_channels=1, round_to=4)

    assert [indices.tolist() for indices in kept] == [[6, 7, 8, 9], [0, 1, 2, 3, 4, 5, 6, 7]]


def test_choose_removes_one_multiple_even_if_the_fraction_is_less() -> None:
    kept = choose([ChannelGroup(channels=16)], [torch.ones(16)], 0.05, min_channels=1, round_to=8)
    assert [indices.tolist() for indices in kept] == [[8, 9, 10, 11, 12, 13, 14, 15]]


def test_choose_takes_groups_of_channels_whose_number_is_a_multiple() -> None:
    grouped = ChannelGroup(channels=24, unit=6, min_units=1)

    kept = choose([grouped], [torch.arange(4.0)], 0.5, min_channels=1, round_to=4)

    assert [indices.tolist() for indices in kept] == [[2, 3]]


def test_choose_has_nothing_to_do_if_no_smaller_multiple_is_allowed() -> None:
    with pytest.raises(NothingToDo, match="min_channels=5"):
        choose([ChannelGroup(channels=8)], [torch.ones(8)], 0.5, min_channels=5, round_to=8)
