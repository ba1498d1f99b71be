"""PKD: correlation of the neck's channels, whatever their mean and scale."""

import numpy as np
import pytest
import torch

from detection.distillation.pkd import Pkd, pkd_loss
from searchd.domain.method_description import AdapterOptions
from tests.detection.distillation.known import whole_necks
from tests.detection.distillation.neck_features import Floats, adapted, neck, pair, sizes


def reference(student: Floats, teacher: Floats) -> float:
    """1 minus the mean over channels of numpy's correlation."""
    pairs = zip(student.swapaxes(0, 1), teacher.swapaxes(0, 1), strict=True)
    return float(np.mean([1 - np.corrcoef(s.ravel(), t.ravel())[0, 1] for s, t in pairs]))


def test_loss_is_one_minus_numpys_correlation() -> None:
    student, teacher = neck(3, 8)[8], 3 * neck(3, 8, seed=1)[8] - 7

    expected = reference(student.numpy(), teacher.numpy())
    assert float(pkd_loss(student, teacher)) == pytest.approx(expected, rel=1e-5)


def test_loss_is_zero_for_channels_of_another_mean_and_scale() -> None:
    teacher = neck(3, 8)[8]
    shifted = teacher * torch.tensor([1.0, 20.0, 0.3])[:, None, None] + 5

    assert float(pkd_loss(shifted, teacher)) == pytest.approx(0, abs=1e-9)


def test_opposite_channels_have_the_largest_loss() -> None:
    teacher = neck(3, 8)[8]

    assert float(pkd_loss(-teacher, teacher)) == pytest.approx(2, rel=1e-5)


def test_a_channel_that_does_not_vary_has_half_the_loss_of_an_uncorrelated_one() -> None:
    teacher = neck(1, 8)[8]

    assert float(pkd_loss(torch.ones_like(teacher), teacher)) == pytest.approx(0.5, rel=1e-5)


def test_levels_add_up_through_their_adapters() -> None:
    torch.manual_seed(0)
    method = Pkd.build(AdapterOptions(), pair(sizes(3), sizes(5))).double()
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)

    loss = method(*whole_necks(student, teacher))

    expected = sum(
        reference(adapted(method.adapters.convs[str(s)], student[s]), teacher[s].numpy())
        for s in (8, 16)
    )
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_loss_passes_gradcheck() -> None:
    teacher = neck(2, 16, seed=1)[16]

    assert torch.autograd.gradcheck(
        lambda s: pkd_loss(s, teacher), neck(2, 16)[16].requires_grad_()
    )
