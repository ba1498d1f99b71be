"""Channel-wise distillation: KL between channels' distributions over positions."""

import numpy as np
import pytest
import torch

from detection.distillation.cwd import Cwd, cwd_loss
from searchd.domain.distillation_methods import CwdOptions
from tests.detection.distillation.known import whole_necks
from tests.detection.distillation.neck_features import Floats, adapted, neck, pair, sizes


def over_positions(features: Floats, temperature: float) -> Floats:
    raised = np.exp(features / temperature)
    return np.asarray(raised / raised.sum(axis=(2, 3), keepdims=True))


def reference(student: Floats, teacher: Floats, temperature: float) -> float:
    p, q = over_positions(teacher, temperature), over_positions(student, temperature)
    total = 0.0
    for image in range(len(p)):
        for channel in range(p.shape[1]):
            t, s = p[image, channel], q[image, channel]
            total += float((t * (np.log(t) - np.log(s))).sum())
    return temperature**2 * total / (p.shape[0] * p.shape[1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_equals_numpy(temperature: float) -> None:
    student, teacher = neck(3, 8)[8], 3 * neck(3, 8, seed=1)[8]

    loss = cwd_loss(student, teacher, temperature)

    expected = reference(student.numpy(), teacher.numpy(), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_loss_is_zero_for_equal_maps_and_for_maps_shifted_channel_by_channel() -> None:
    teacher = neck(3, 8)[8]
    shifted = teacher + torch.tensor([1.0, -20.0, 300.0])[:, None, None]

    assert float(cwd_loss(teacher, teacher)) == 0
    assert float(cwd_loss(shifted, teacher)) == pytest.approx(0, abs=1e-12)


def test_loss_stays_finite_for_large_features() -> None:
    student, teacher = 1e4 * neck(3, 8)[8].float(), -1e4 * neck(3, 8)[8].float()

    assert torch.isfinite(cwd_loss(student, teacher))


def test_one_position_has_nothing_to_tell() -> None:
    assert float(cwd_loss(torch.ones(2, 3, 1, 1), torch.zeros(2, 3, 1, 1))) == 0


def test_levels_add_up_through_their_adapters() -> None:
    torch.manual_seed(0)
    method = Cwd.build(CwdOptions(temperature=2), pair(sizes(3), sizes(5))).double()
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)

    loss = method(*whole_necks(student, teacher))

    expected = sum(
        reference(adapted(method.adapters.convs[str(s)], student[s]), teacher[s].numpy(), 2)
        for s in (8, 16)
    )
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)


def test_the_loss_passes_gradcheck() -> None:
    teacher = neck(2, 16, seed=1)[16]

    assert torch.autograd.gradcheck(
        lambda s: cwd_loss(s, teacher, 1.5), neck(2, 16)[16].requires_grad_()
    )
