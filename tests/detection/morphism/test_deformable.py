"""Deformable convolutions on a searched backbone: the same detector, then a movable one."""

import pytest
import torch

from detection.build import Student, load_student, with_family
from detection.morphism import evolve
from detection.morphism.deformable import with_deformable_convs
from searchd.domain.actions import AddLayer, Move, PruneChannels, Rearrange
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from tests.detection.morphism.students import (
    ARCHITECTURES,
    BASIC,
    BOTTLENECK,
    GROUPED,
    INVERTED,
    image,
    make_student,
    outputs,
)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ["basic", "bottleneck", "grouped", "rearranged"])
def test_detector_computes_the_same_with_deformable_convolutions(name: str, train: bool) -> None:
    parent = make_student(ARCHITECTURES[name])

    child = with_deformable_convs(parent, (2, 3, 4))

    images = image(batch=2).double()
    before, after = outputs(parent, images, train=train), outputs(child, images, train=train)
    for was, now in zip(before, after, strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-9)


def test_only_the_strided_3x3_convolutions_of_the_stages_change() -> None:
    parent = make_student(GROUPED)

    child = with_deformable_convs(parent, [3])

    convs = [f"backbone.layer3.{index}.conv2" for index in (0, 1)]
    assert flags(child) == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    assert {key for key in child.weights if key not in parent.weights} == {
        f"{conv}.conv_offset.{part}" for conv in convs for part in ("weight", "bias")
    }
    for key, tensor in parent.weights.items():
        if key.removesuffix(".weight") in convs:
            assert torch.equal(child.weights[key], 2 * tensor)
        else:
            assert child.weights[key] is tensor
    # Two coordinates and a mask for 9 places, read from all 32 inputs of the grouped convolution.
    assert child.weights[f"{convs[0]}.conv_offset.weight"].shape == (27, 32, 3, 3)


def test_offsets_of_a_basic_block_read_the_blocks_input() -> None:
    child = with_deformable_convs(make_student(BASIC), [2])

    shapes = [
        child.weights[f"backbone.layer2.{index}.conv1.conv_offset.weight"].shape[1]
        for index in (0, 1)
    ]
    assert shapes == [8, 16]


def test_upgrading_again_changes_only_what_is_not_deformable_yet() -> None:
    once = with_deformable_convs(make_student(BOTTLENECK), [4])

    twice = with_deformable_convs(once, [3, 4])

    assert flags(twice) == [[False] * 2, [False] * 2, [True] * 2, [True] * 2]
    key = "backbone.layer4.0.conv2.weight"
    assert twice.weights[key] is once.weights[key]


def test_offsets_learn_from_the_first_step() -> None:
    child = with_deformable_convs(make_student(BOTTLENECK), [4])
    model = load_student(child)

    sum(level.square().mean() for level in model.neck(model.backbone(image(batch=2)))).backward()

    gradient = model.backbone.layer4[0].conv2.conv_offset.weight.grad
    assert torch.all(gradient.flatten(1).abs().sum(dim=1) > 0)


def test_searched_resnext_gets_deformable_convolutions_and_a_cascade() -> None:
    student = make_student(GROUPED)
    for action in (
        PruneChannels(fraction=0.2, min_channels=2),
        AddLayer(stage=3),
        Rearrange(stage=3, move=Move.LAST_TO_NEXT),
    ):
        student = evolve(student, action, generator=torch.Generator().manual_seed(0))

    upgraded = with_family(with_deformable_convs(student, (2, 3, 4)), Family.CASCADE_RCNN)

    images = image().double()
    for was, now in zip(outputs(student, images), outputs(upgraded, images), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-9)
    assert len(load_student(upgraded).roi_head.bbox_head) == 3


def test_impossible_upgrade_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"stages=\[0, 5\] must lie between 1 and 4"):
        with_deformable_convs(make_student(BASIC), [0, 2, 5])
    with pytest.raises(InvalidValueError, match="inverted_residual is not deformable"):
        with_deformable_convs(make_student(INVERTED), [3])


def flags(student: Student) -> list[list[bool]]:
    return [[b.deformable for b in stage] for stage in student.detector.architecture.stages]
