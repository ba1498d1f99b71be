"""Channel pruning: one ranking, tied groups, inherited weights (papers.md 1.5 (1), JD-04)."""

from dataclasses import replace

import pytest
import torch

from detection.build import Student
from detection.morphism import NothingToDo
from detection.morphism.channel_pruning import choose, prune_channels
from searchd.domain.actions import ChannelGroup, PruneChannels, prunable_groups
from searchd.domain.architecture import Architecture
from tests.detection.morphism.students import (
    BASIC,
    BOTTLENECK,
    GROUPED,
    REARRANGED,
    channels,
    image,
    make_student,
    outputs,
)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, REARRANGED])
def test_outputs_stay_when_the_removed_channels_gamma_and_beta_are_zero(
    architecture: Architecture, seed: int
) -> None:
    parent = make_student(architecture, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    num_zeroed = 0
    for group in prunable_groups(architecture):
        dead = torch.randperm(group.channels, generator=generator)[: group.channels // 3]
        for bn in norms_of(group, architecture):
            parent.weights[f"{bn}.weight"][dead] = 0.0
            parent.weights[f"{bn}.bias"][dead] = 0.0
        num_zeroed += len(dead)

    child = prune_channels(
        parent, PruneChannels(fraction=num_zeroed / num_prunable(parent), min_channels=1)
    )

    assert num_prunable(child) == num_prunable(parent) - num_zeroed
    before, after = outputs(parent, image()), outputs(child, image())
    for stage in range(4):
        alive = surviving_outputs(parent, stage)
        torch.testing.assert_close(after[stage], before[stage][:, alive], rtol=0, atol=1e-5)
        dead_outputs = before[stage][:, ~alive]
        assert torch.count_nonzero(dead_outputs) == 0
    for was, now in zip(before[4:], after[4:], strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-5)


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
@pytest.mark.parametrize("architecture", [BASIC, BOTTLENECK, REARRANGED])
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

    with pytest.raises(NothingToDo, match="is not one channel"):
        prune_channels(parent, PruneChannels(fraction=0.001, min_channels=1))


def test_grouped_blocks_offer_no_channels() -> None:
    with pytest.raises(NothingToDo):
        prune_channels(make_student(GROUPED), PruneChannels(fraction=0.5, min_channels=1))


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

    kept = choose([weak, strong], 3 / 7, min_channels=2)

    assert [indices.tolist() for indices in kept] == [[1, 2], [0, 3]]


def test_choose_removes_equal_channels_in_forward_order() -> None:
    kept = choose([torch.ones(3), torch.ones(3)], 4 / 6, min_channels=1)

    assert [indices.tolist() for indices in kept] == [[2], [2]]


def norms_of(group: ChannelGroup, architecture: Architecture) -> list[str]:
    """Names of all BNs over the group's channels, those that rank included."""
    if group.inner is not None:
        stage, index, conv = group.inner
        return [f"backbone.layer{stage}.{index}.bn{conv + 1}"]
    last = architecture.kind.num_convs
    names = [f"backbone.layer{stage}.{index}.bn{last}" for stage, index in group.blocks]
    stage, index = group.blocks[0]
    return [*names, f"backbone.layer{stage}.{index}.downsample.1"]


def surviving_outputs(student: Student, stage: int) -> torch.Tensor:
    """Which output channels of the stage (from 0) have a last BN that is not zeroed."""
    architecture = student.detector.architecture
    index, last = architecture.depths[stage] - 1, architecture.kind.num_convs
    return student.weights[f"backbone.layer{stage + 1}.{index}.bn{last}.weight"] != 0


def num_prunable(student: Student) -> int:
    return sum(group.channels for group in prunable_groups(student.detector.architecture))
