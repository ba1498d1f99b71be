"""Masked generative distillation: the mask's share, and the loss against NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

from detection.distillation.mgd import Mgd, mgd_loss, random_mask
from searchd.domain.distillation_methods import MgdOptions
from tests.detection.distillation.known import whole_necks
from tests.detection.distillation.neck_features import Floats, adapted, neck, pair, sizes


def mgd(student: int, teacher: int, options: MgdOptions | None = None) -> Mgd:
    torch.manual_seed(0)
    return Mgd.build(options or MgdOptions(), pair(sizes(student), sizes(teacher))).double()


def convolved(convolution: nn.Module, features: Floats) -> Floats:
    """A 3x3 convolution in NumPy, cell by cell."""
    weight, bias = (value.numpy() for value in convolution.state_dict().values())
    padded = np.pad(features, ((0, 0), (0, 0), (1, 1), (1, 1)))
    images, _, height, width = features.shape
    found = np.empty((images, len(weight), height, width))
    for row in range(height):
        for column in range(width):
            seen = padded[:, :, row : row + 3, column : column + 3]
            found[:, :, row, column] = np.einsum("ochw,nchw->no", weight, seen) + bias
    return found


def test_loss_equals_numpy_under_the_masks_that_were_drawn() -> None:
    method = mgd(3, 5, MgdOptions(scale=0.25, masked_fraction=0.5))
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)

    torch.manual_seed(3)
    loss = method(*whole_necks(student, teacher))

    torch.manual_seed(3)
    expected = 0.0
    for stride in (8, 16):
        generator = method.generators[str(stride)]
        aligned = adapted(method.adapters.convs[str(stride)], student[stride])
        shown = (torch.rand(2, 1, *aligned.shape[2:], dtype=torch.float64) >= 0.5).numpy()
        hidden_layer = np.maximum(convolved(generator.get_submodule("conv1"), aligned * shown), 0)
        generated = convolved(generator.get_submodule("conv2"), hidden_layer)
        expected += 0.25 / 2 * float(((teacher[stride].numpy() - generated) ** 2).sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)


def test_the_mask_hides_the_given_share_of_positions_in_all_channels_of_a_sample() -> None:
    torch.manual_seed(0)

    mask = random_mask(torch.zeros(8, 16, 100, 100), 0.65)

    assert mask.shape == (8, 1, 100, 100)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (1 - mask.mean(dim=(1, 2, 3))).tolist() == pytest.approx([0.65] * 8, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(("fraction", "shown"), [(0.0, 1.0), (1.0, 0.0)])
def test_nothing_or_everything_may_be_hidden(fraction: float, shown: float) -> None:
    assert random_mask(torch.zeros(2, 3, 4, 4), fraction).unique().tolist() == [shown]


@pytest.mark.parametrize(
    ("two_stage", "scale", "masked"), [(False, 2e-5, 0.65), (True, 5e-7, 0.45)]
)
def test_published_numbers_are_the_default_of_each_kind_of_student(
    two_stage: bool, scale: float, masked: float
) -> None:
    student, teacher = sizes(3, two_stage=two_stage), sizes(3)

    method = Mgd.build(MgdOptions(), pair(student, teacher))
    chosen = Mgd.build(MgdOptions(scale=0.0, masked_fraction=0.0), pair(student, teacher))

    assert (method._scale, method._masked_fraction) == (scale, masked)
    assert (chosen._scale, chosen._masked_fraction) == (0.0, 0.0)


def test_loss_sums_over_everything_but_the_batch() -> None:
    assert float(mgd_loss(torch.zeros(2, 3, 4, 5), torch.full((2, 3, 4, 5), 2.0))) == 4 * 3 * 4 * 5


def test_narrower_teachers_and_students_use_the_leading_channels() -> None:
    method = mgd(3, 5)
    student = {stride: level[:, :2].requires_grad_() for stride, level in neck(3, 8, 16).items()}

    method(*whole_necks(student, neck(4, 8, 16, seed=1))).backward()

    weight = method.generators["8"].get_submodule("conv2").get_parameter("weight")
    assert all(level.grad is not None and level.grad.any() for level in student.values())
    assert weight.grad is not None
    assert weight.grad[:4].any()
    assert not weight.grad[4:].any()


def test_the_loss_passes_gradcheck() -> None:
    target = neck(2, 16, seed=1)[16]

    assert torch.autograd.gradcheck(lambda g: mgd_loss(g, target), neck(2, 16)[16].requires_grad_())
