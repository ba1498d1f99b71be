"""Add-layer: the identity at first, a learning block soon (docs/papers.md 1.5 (3))."""

from dataclasses import replace

import pytest
import torch
from mmdet.models import FasterRCNN
from torch import Tensor

from detection.build import Student, load_student
from detection.morphism.add_layer import add_layer, dirac
from searchd.domain.actions import AddLayer
from searchd.domain.architecture import Architecture, Shortcut
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


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("stage", [1, 2, 3, 4])
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_detector_computes_the_same_after_adding(
    architecture: Architecture, stage: int, train: bool
) -> None:
    parent = make_student(architecture)

    child = append(parent, stage)

    assert child.detector.architecture.depths[stage - 1] == architecture.depths[stage - 1] + 1
    before = outputs(parent, image(batch=2), train=train)
    after = outputs(child, image(batch=2), train=train)
    for was, now in zip(before, after, strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_every_parameter_learns_after_one_update(architecture: Architecture) -> None:
    child = append(make_student(architecture), 4)
    model = load_student(child)
    added = model.backbone.layer4[-1]
    last_bn = added.last_bn
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    backward(model)
    assert torch.all(last_bn.weight.grad != 0)
    assert torch.all(last_bn.bias.grad != 0)
    others = [p for p in added.parameters() if p is not last_bn.weight and p is not last_bn.bias]
    assert all(torch.count_nonzero(parameter.grad) == 0 for parameter in others)

    optimizer.step()
    optimizer.zero_grad()
    backward(model)
    for name, parameter in added.named_parameters():
        if "conv_offset" not in name:
            assert every_output_learns(parameter), f"{name} has an output that does not learn"


def test_offsets_of_an_added_deformable_block_learn_once_its_kernel_has_more_than_a_centre() -> (
    None
):
    child = append(make_student(DEFORMABLE), 4)
    model = load_student(child)
    conv = model.backbone.layer4[-1].conv2
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    learning = []
    for _ in range(3):
        optimizer.zero_grad()
        backward(model)
        learning.append(every_output_learns(conv.conv_offset.weight))
        optimizer.step()

    assert learning == [False, False, True]


def test_parents_tensors_are_inherited_and_the_new_block_is_the_last() -> None:
    parent = make_student(BOTTLENECK)

    child = append(parent, 2)

    added = {name for name in child.weights if name not in parent.weights}
    assert added == {
        f"backbone.layer2.2.{module}"
        for number in (1, 2, 3)
        for module in (
            f"conv{number}.weight",
            f"bn{number}.weight",
            f"bn{number}.bias",
            f"bn{number}.running_mean",
            f"bn{number}.running_var",
            f"bn{number}.num_batches_tracked",
        )
    }
    assert all(child.weights[name] is parent.weights[name] for name in parent.weights)


def test_widths_groups_and_deformability_are_copied_from_the_stages_last_block() -> None:
    child = append(make_student(REARRANGED), 4)
    inverted = append(make_student(INVERTED), 3)
    grouped = append(make_student(GROUPED), 3)
    deformable = append(make_student(DEFORMABLE), 3)

    assert channels(inverted)[2] == [(48, 16), (96, 16), (96, 24), (144, 24), (144, 24)]
    assert deformable.detector.architecture.stages[2][-1].deformable
    offsets = deformable.weights["backbone.layer3.2.conv2.conv_offset.weight"]
    assert offsets.shape == (27, 32, 3, 3)
    assert torch.count_nonzero(offsets) == 0
    assert channels(child)[3] == [(12, 8, 40), (9, 11, 40), (9, 11, 40)]
    added = grouped.detector.architecture.stages[2][-1]
    assert (added.groups, added.stride, added.shortcut) == (4, 1, Shortcut.IDENTITY)


def test_a_stage_of_one_projection_block_is_deepened_by_an_identity_block() -> None:
    child = append(make_student(REARRANGED), 1)

    assert [b.shortcut for b in child.detector.architecture.stages[0]] == [
        Shortcut.PROJECTION,
        Shortcut.IDENTITY,
    ]


def test_dirac_copies_inputs_and_draws_the_outputs_beyond_them() -> None:
    weight = dirac((5, 3, 3, 3), 1, generator=torch.Generator().manual_seed(0))

    units = torch.zeros(3, 3, 3, 3)
    units[[0, 1, 2], [0, 1, 2], 1, 1] = 1.0
    assert torch.equal(weight[:3], units)
    assert torch.all(weight[3:] != 0)
    # He, fan-out: standard deviation sqrt(2 / (5 * 9)).
    wide = dirac((4096, 1, 1, 1), 1, generator=torch.Generator().manual_seed(0))
    assert wide[1:].std().item() == pytest.approx((2 / 4096) ** 0.5, rel=0.05)


def test_dirac_draws_the_inputs_beyond_its_outputs_so_that_what_makes_them_learns() -> None:
    weight = dirac((3, 5, 1, 1), 1, generator=torch.Generator().manual_seed(0))

    assert torch.equal(weight[:, :3, 0, 0], torch.eye(3))
    assert torch.all(weight[:, 3:] != 0)


def test_depthwise_dirac_copies_every_channel() -> None:
    weight = dirac((4, 1, 3, 3), 4, generator=torch.Generator().manual_seed(0))

    assert weight[:, 0, 1, 1].tolist() == [1.0] * 4
    assert weight.sum() == 4.0


def test_grouped_dirac_copies_inside_every_group() -> None:
    weight = dirac((6, 2, 3, 3), 2, generator=torch.Generator().manual_seed(0))

    centre = weight[:, :, 1, 1]
    assert centre[[0, 1, 3, 4]].tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert torch.all(weight[[2, 5]] != 0)


def test_generator_alone_decides_the_drawn_weights() -> None:
    parent = make_student(BOTTLENECK)
    state = torch.get_rng_state()

    same = [append(parent, 3, seed=1), append(parent, 3, seed=1)]
    other = append(parent, 3, seed=2)

    assert torch.equal(torch.get_rng_state(), state)
    drawn = "backbone.layer3.2.conv3.weight"
    assert torch.equal(same[0].weights[drawn], same[1].weights[drawn])
    assert not torch.equal(same[0].weights[drawn], other.weights[drawn])


def test_added_block_can_be_added_to_again() -> None:
    parent = make_student(replace(BASIC, stages=tuple(s[:1] for s in BASIC.stages)))

    child = append(append(parent, 4), 4)

    assert child.detector.architecture.depths == (1, 1, 1, 3)
    for was, now in zip(outputs(parent, image()), outputs(child, image()), strict=True):
        torch.testing.assert_close(now, was, rtol=0, atol=1e-6)


def every_output_learns(parameter: Tensor) -> bool:
    """Whether no row of the gradient is zero."""
    assert parameter.grad is not None
    rows = parameter.grad.reshape(len(parameter), -1)
    return bool(torch.all(rows.abs().sum(dim=1) > 0))


def append(student: Student, stage: int, *, seed: int = 0) -> Student:
    generator = torch.Generator().manual_seed(seed)
    return add_layer(student, AddLayer(stage=stage), generator=generator)


def backward(model: FasterRCNN) -> None:
    """Gradients of a loss that reads every FPN output."""
    features = model.neck(model.backbone(image(batch=4)))
    targets = [
        torch.randn(f.shape, generator=torch.Generator().manual_seed(i))
        for i, f in enumerate(features)
    ]
    loss: Tensor = sum(
        (((f - target) ** 2).mean() for f, target in zip(features, targets, strict=True)),
        start=torch.zeros(()),
    )
    loss.backward()
