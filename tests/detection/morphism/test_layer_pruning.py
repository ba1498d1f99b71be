"""Layer pruning: the right victim, the rest bit-identical (docs/papers.md 1.5 (2))."""

from dataclasses import replace

import pytest
import torch

from detection.build import Student
from detection.morphism import NothingToDo
from detection.morphism.layer_pruning import block_importance, prune_layer
from searchd.domain.actions import LayerImportance, PruneLayer
from searchd.domain.architecture import Architecture, preset
from tests.detection.morphism.students import (
    ARCHITECTURES,
    BASIC,
    BOTTLENECK,
    image,
    make_student,
    outputs,
)

DEEP = replace(
    BOTTLENECK,
    stages=tuple((*stage, stage[1]) for stage in BOTTLENECK.stages),
)


@pytest.mark.parametrize("importance", list(LayerImportance))
@pytest.mark.parametrize(("stage", "index"), [(1, 1), (2, 2), (4, 1)])
def test_block_with_the_smallest_weights_goes_and_the_rest_stays(
    stage: int, index: int, importance: LayerImportance
) -> None:
    parent = with_conv_weights(make_student(DEEP), {(stage, index): 1e-6})

    child = prune_layer(parent, PruneLayer(importance=importance))

    depths = [3, 3, 3, 3]
    depths[stage - 1] = 2
    assert list(child.detector.architecture.depths) == depths
    for name, tensor in child.weights.items():
        assert tensor is parent.weights[name_in_parent(name, stage, index)]
    assert len(parent.weights) - len(child.weights) == 3 * 6
    outputs(child, image())


@pytest.mark.parametrize(
    ("name", "smallest", "depths"),
    [
        ("basic", (2, 1), (2, 1, 2, 2)),
        ("grouped", (3, 1), (2, 2, 1, 2)),
        ("deformable", (4, 1), (2, 2, 2, 1)),
        ("inverted", (3, 3), (2, 2, 3, 3)),
        ("inverted", (1, 1), (1, 2, 4, 3)),
    ],
)
def test_blocks_of_every_kind_are_removed(
    name: str, smallest: tuple[int, int], depths: tuple[int, ...]
) -> None:
    parent = with_conv_weights(make_student(ARCHITECTURES[name]), {smallest: 1e-6})

    child = prune_layer(parent, PruneLayer())

    assert child.detector.architecture.depths == depths
    for key, tensor in child.weights.items():
        assert tensor is parent.weights[name_in_parent(key, *smallest)]
    assert all(torch.isfinite(feature).all() for feature in outputs(child, image()))


def test_blocks_of_mobilenet_without_shortcut_stay_though_their_weights_are_the_smallest() -> None:
    parent = make_student(ARCHITECTURES["inverted"])
    with_conv_weights(parent, {(2, 0): 0.0, (3, 2): 0.0, (4, 2): 0.0, (4, 1): 1e-6})

    child = prune_layer(parent, PruneLayer())

    assert child.detector.architecture.depths == (2, 2, 4, 2)


def test_mean_and_sum_disagree_when_a_wide_block_has_small_weights() -> None:
    # Stage 4's block has 64 times the weights of stage 1's, at a tenth of the size.
    values = dict.fromkeys(((s, i) for s in range(1, 5) for i in range(3)), 1.0)
    parent = with_conv_weights(make_student(DEEP), values | {(4, 1): 0.1})

    by_mean = prune_layer(parent, PruneLayer(importance=LayerImportance.L1_MEAN))
    by_sum = prune_layer(parent, PruneLayer(importance=LayerImportance.L1_SUM))

    assert by_mean.detector.architecture.depths == (3, 3, 3, 2)
    assert by_sum.detector.architecture.depths == (2, 3, 3, 3)


def test_importance_is_the_mean_or_sum_of_absolute_convolution_weights() -> None:
    weights = {
        "conv1.weight": torch.tensor([[[[1.0]], [[-3.0]]]]),
        "conv2.weight": torch.tensor([[[[0.0, -4.0]]]]),
        "conv2.conv_offset.weight": torch.tensor([[[[100.0]]]]),
        "bn1.weight": torch.tensor([100.0]),
    }

    assert block_importance(weights, LayerImportance.L1_MEAN) == 2.0
    assert block_importance(weights, LayerImportance.L1_SUM) == 8.0


def test_projection_blocks_stay_though_their_weights_are_the_smallest() -> None:
    parent = with_conv_weights(make_student(DEEP), {(2, 0): 0.0, (3, 1): 1e-6})

    child = prune_layer(parent, PruneLayer())

    assert child.detector.architecture.depths == (3, 3, 2, 3)


def test_protected_blocks_stay_though_their_weights_are_the_smallest() -> None:
    stage = DEEP.stages[2]
    protected = DEEP.with_stage(3, (stage[0], replace(stage[1], protected_for=1), stage[2]))
    parent = with_conv_weights(make_student(protected), {(3, 1): 0.0, (3, 2): 1e-6})

    child = prune_layer(parent, PruneLayer())

    assert child.detector.architecture.stages[2] == protected.stages[2][:2]


def test_removing_stage_1s_first_block_of_resnet18_leaves_the_papers_student() -> None:
    parent = with_conv_weights(make_student(BASIC), {(1, 0): 1e-6})

    child = prune_layer(parent, PruneLayer())

    assert child.detector.architecture.depths == (1, 2, 2, 2)
    kept = child.weights["backbone.layer1.0.conv1.weight"]
    assert kept is parent.weights["backbone.layer1.1.conv1.weight"]


def test_nothing_is_left_to_do_when_no_block_is_removable() -> None:
    shallow: Architecture = replace(
        preset("resnet50", base_channels=8), stages=tuple(s[:1] for s in BOTTLENECK.stages)
    )

    with pytest.raises(NothingToDo, match="no block is removable"):
        prune_layer(make_student(shallow), PruneLayer())


def with_conv_weights(student: Student, values: dict[tuple[int, int], float]) -> Student:
    """Every convolution weight of the named blocks (stage, index) set to a value."""
    for (stage, index), value in values.items():
        for name, tensor in student.weights.items():
            if name.startswith(f"backbone.layer{stage}.{index}.conv"):
                tensor.fill_(value)
    return student


def name_in_parent(name: str, stage: int, removed: int) -> str:
    prefix = f"backbone.layer{stage}."
    if not name.startswith(prefix):
        return name
    index, rest = name.removeprefix(prefix).split(".", 1)
    return f"{prefix}{int(index) + (int(index) >= removed)}.{rest}"
