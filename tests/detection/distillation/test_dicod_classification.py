"""A crop classifier's scores in matched predictions: values, gradients, nothing to compare."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.distillation.dicod_classification import sigmoid_scores_loss, softmax_scores_loss

Floats = NDArray[np.float64]
CERTAIN = 1e4


def draw(*shape: int, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_softmax_loss_equals_numpy(temperature: float) -> None:
    student, teacher = draw(6, 5), draw(6, 4, seed=1)

    loss = softmax_scores_loss(student, teacher, temperature)

    wanted = np.hstack([softmax(teacher.numpy() / temperature), np.zeros((6, 1))])
    found = softmax(student.numpy() / temperature)
    reference = 0.0
    for p, q in zip(wanted.ravel(), found.ravel(), strict=True):
        reference += temperature**2 * p * np.log(p / q) / 6 if p > 0 else 0.0
    assert float(loss) == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_sigmoid_loss_equals_numpy_whichever_class_the_object_has(temperature: float) -> None:
    student, teacher = draw(6, 4), draw(6, 4, seed=1)
    labels = [0, 1, 2, 3, 3, 0]

    loss = sigmoid_scores_loss(student, teacher, temperature)

    reference = 0.0
    p_t = 1 / (1 + np.exp(-teacher.numpy() / temperature))
    p_s = 1 / (1 + np.exp(-student.numpy() / temperature))
    for k, label in enumerate(labels):
        for c in range(4):
            t, s = np.array([1 - p_t[k, c], p_t[k, c]]), np.array([1 - p_s[k, c], p_s[k, c]])
            t, s = (t, s) if c == label else (t[::-1], s[::-1])
            reference += temperature**2 / 4 * float((t * np.log(t / s)).sum()) / 6
    assert float(loss) == pytest.approx(reference, rel=1e-9)


def test_losses_are_zero_for_equal_scores_and_positive_else() -> None:
    teacher = draw(3, 4)
    no_background = torch.full((3, 1), -CERTAIN, dtype=torch.float64)

    equal = softmax_scores_loss(torch.cat([teacher, no_background], dim=1), teacher, 2)
    assert float(equal) == pytest.approx(0, abs=1e-12)
    assert float(sigmoid_scores_loss(teacher, teacher, 2)) == pytest.approx(0, abs=1e-12)
    likely = torch.cat([teacher, no_background + CERTAIN + 5], dim=1)
    assert float(softmax_scores_loss(likely, teacher, 2)) > 0.1
    assert float(sigmoid_scores_loss(teacher + 1, teacher, 2)) > 0.01


def test_losses_of_certain_scores_are_finite() -> None:
    teacher = torch.tensor([[CERTAIN, -CERTAIN]])
    student = torch.tensor([[-CERTAIN, CERTAIN, 0.0]], requires_grad=True)

    loss = softmax_scores_loss(student, teacher, 2)
    (loss + sigmoid_scores_loss(student[:, :2], teacher, 2)).backward()

    assert float(loss.detach()) == pytest.approx(4 * CERTAIN)  # T^2 * (2 * CERTAIN / T)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_losses_pass_gradcheck() -> None:
    softmaxes, sigmoids = draw(3, 5).requires_grad_(), draw(3, 4).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda s: softmax_scores_loss(s, draw(3, 4, seed=1), 2), softmaxes
    )
    assert torch.autograd.gradcheck(
        lambda s: sigmoid_scores_loss(s, draw(3, 4, seed=1), 2), sigmoids
    )


def test_one_class_teaches_against_background_alone() -> None:
    student = torch.tensor([[0.0, 0.0], [2.0, 2.0]])

    loss = softmax_scores_loss(student, torch.tensor([[7.0], [-7.0]]), 1)

    assert float(loss) == pytest.approx(np.log(2))


def test_losses_are_zero_with_a_graph_without_positives() -> None:
    student = torch.zeros(0, 5, requires_grad=True)

    loss = softmax_scores_loss(student, torch.zeros(0, 4), 2)
    loss = loss + sigmoid_scores_loss(student[:, :4], torch.zeros(0, 4), 2)
    loss.backward()

    assert float(loss.detach()) == 0
    assert student.grad is not None
