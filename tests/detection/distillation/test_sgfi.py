"""SGFI mixes the student's levels by their likeness to the teacher's feature."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from detection.distillation.sgfi import Sgfi, sgfi_loss
from tests.detection.distillation.known import taps

Floats = NDArray[np.float64]
LEVELS, REGIONS, CHANNELS = 4, 3, 6


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def sgfi(student: int = 5, teacher: int = CHANNELS, kernel: int = 1, tau: float = 1.0) -> Sgfi:
    torch.manual_seed(0)
    return Sgfi(student, teacher, adapter_kernel=kernel, initial_temperature=tau).double()


def levels_and_target() -> tuple[Tensor, Tensor]:
    return draw(LEVELS, REGIONS, 5, 7, 7), draw(REGIONS, CHANNELS, 7, 7, seed=1)


def convolve(x: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """Channels x height x width, without padding, position by position."""
    size, kernel = x.shape[1], weight.shape[2]
    out = (size - kernel) // stride + 1
    result = np.zeros((len(weight), out, out))
    for row in range(out):
        for column in range(out):
            top, left = row * stride, column * stride
            window = x[:, top : top + kernel, left : left + kernel]
            result[:, row, column] = (weight * window).sum(axis=(1, 2, 3)) + bias
    return result


def reference_loss(method: Sgfi, levels: Floats, target: Floats) -> float:
    w = {name: value.numpy() for name, value in method.state_dict().items()}

    def key(feature: Floats) -> Floats:
        for layer in ("first", "second"):
            weight, bias = w[f"embedding.{layer}.weight"], w[f"embedding.{layer}.bias"]
            feature = np.maximum(convolve(feature, weight, bias, 2), 0)
        assert feature.shape == (64, 1, 1)
        return feature.ravel()

    total = 0.0
    for region in range(len(target)):
        adapted = [
            convolve(level[region], w["adapter.weight"], w["adapter.bias"], 1) for level in levels
        ]
        logits = np.array([key(a) @ key(target[region]) for a in adapted])
        raised = np.exp((logits - logits.max()) / np.exp(w["log_temperature"]))
        mixed = sum(a * f for a, f in zip(raised / raised.sum(), adapted, strict=True))
        total += float(((mixed - target[region]) ** 2).mean())
    return total / len(target)


@pytest.mark.parametrize("tau", [1.0, 0.05])
def test_loss_equals_numpy(tau: float) -> None:
    method = sgfi(tau=tau)
    levels, target = levels_and_target()

    loss = method(taps(region_levels=levels), taps(region_features=target))

    expected = reference_loss(method, levels.numpy(), target.numpy())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)


def test_weights_of_the_levels_sum_to_one_for_every_region() -> None:
    method = sgfi(tau=0.01)
    levels, target = levels_and_target()

    weights = method.level_weights(method.adapted(levels, CHANNELS), target)

    assert weights.shape == (LEVELS, REGIONS)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(REGIONS, dtype=torch.float64))
    assert (weights > 0).all()
    assert weights.std(dim=0).min() > 1e-4  # they do tell levels apart


def test_permuting_the_levels_permutes_their_weights_and_keeps_the_loss() -> None:
    method, order = sgfi(tau=0.01), [2, 0, 3, 1]
    levels, target = levels_and_target()
    adapted = method.adapted(levels, CHANNELS)

    permuted = method.level_weights(adapted[order], target)

    torch.testing.assert_close(permuted, method.level_weights(adapted, target)[order])
    one, other = (
        method(taps(region_levels=found), taps(region_features=target))
        for found in (levels, levels[order])
    )
    torch.testing.assert_close(one, other)


def test_other_regions_do_not_change_a_regions_weights() -> None:
    method = sgfi(tau=0.01)
    levels, target = levels_and_target()
    adapted = method.adapted(levels, CHANNELS)

    alone = method.level_weights(adapted[:, :1], target[:1])

    torch.testing.assert_close(alone, method.level_weights(adapted, target)[:, :1])


def test_loss_is_low_when_one_level_is_the_teachers_feature() -> None:
    method = sgfi(student=CHANNELS, tau=1e-4)
    nn.init.dirac_(method.adapter.weight)
    nn.init.zeros_(method.adapter.bias)  # type: ignore[arg-type] # it has one
    levels, target = 0.1 * draw(LEVELS, REGIONS, CHANNELS, 7, 7), draw(REGIONS, CHANNELS, 7, 7)
    levels[2] = target

    weights = method.level_weights(levels, target)
    loss = method(taps(region_levels=levels), taps(region_features=target))

    assert weights.argmax(dim=0).tolist() == [2, 2, 2]
    assert float(loss.detach()) < 1e-6
    assert float(sgfi_loss(levels, target, weights.detach().flip(0))) > 0.5


def test_gradients_pass_gradcheck() -> None:
    method = sgfi(student=2, teacher=2)
    levels = draw(2, 2, 2, 7, 7).requires_grad_()
    target = draw(2, 2, 7, 7, seed=1)

    assert torch.autograd.gradcheck(
        lambda s, _: method(taps(region_levels=s), taps(region_features=target)),
        (levels, method.log_temperature),
    )


def test_temperature_is_learned_and_stays_positive() -> None:
    method = sgfi(tau=0.5)
    levels, target = levels_and_target()

    method(taps(region_levels=levels), taps(region_features=target)).backward()

    assert float(method.log_temperature.detach()) == pytest.approx(math.log(0.5))
    assert method.log_temperature.grad is not None
    assert method.log_temperature.grad != 0


def test_narrower_teacher_uses_the_leading_part_of_both_adapters() -> None:
    method = sgfi(teacher=8)
    levels, target = draw(LEVELS, REGIONS, 5, 7, 7), draw(REGIONS, 6, 7, 7, seed=1)
    narrow = sgfi(teacher=6)
    weights = method.state_dict()
    weights["adapter.weight"] = weights["adapter.weight"][:6]
    weights["adapter.bias"] = weights["adapter.bias"][:6]
    weights["embedding.first.weight"] = weights["embedding.first.weight"][:, :6]
    narrow.load_state_dict(weights)
    student, teacher = taps(region_levels=levels), taps(region_features=target)

    torch.testing.assert_close(method(student, teacher), narrow(student, teacher))


def test_a_narrower_student_uses_the_adapters_leading_inputs() -> None:
    method = sgfi(student=5)
    levels, target = levels_and_target()
    padded = functional.pad(levels[:, :, :3], (0, 0, 0, 0, 0, 2))

    torch.testing.assert_close(
        method.adapted(levels[:, :, :3], CHANNELS), method.adapted(padded, CHANNELS)
    )


def test_three_by_three_adapter_keeps_the_size() -> None:
    levels, target = levels_and_target()

    adapted = sgfi(kernel=3).adapted(levels, CHANNELS)

    assert adapted.shape == (LEVELS, REGIONS, CHANNELS, 7, 7)


def test_one_level_has_all_the_weight() -> None:
    method = sgfi()
    levels, target = levels_and_target()
    adapted = method.adapted(levels[:1, :1], CHANNELS)

    weights = method.level_weights(adapted, target[:1])
    loss = method(taps(region_levels=levels[:1, :1]), taps(region_features=target[:1]))

    assert weights.tolist() == [[1.0]]
    torch.testing.assert_close(loss, (adapted[0] - target[:1]).square().mean())


def test_large_features_give_a_finite_loss_and_gradient() -> None:
    method = sgfi().float()
    levels, target = (1e4 * t.float() for t in levels_and_target())

    loss = method(taps(region_levels=levels), taps(region_features=target))
    loss.backward()

    assert torch.isfinite(loss)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


def test_without_regions_the_loss_is_zero_with_a_graph_to_everything() -> None:
    method = sgfi()
    levels = torch.zeros(LEVELS, 0, 5, 7, 7, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(0, CHANNELS, 7, 7, dtype=torch.float64)

    loss = method(taps(region_levels=levels), taps(region_features=target))
    loss.backward()

    assert float(loss.detach()) == 0
    assert levels.grad is not None
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())
