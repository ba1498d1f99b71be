"""A one-stage student's sigmoid logits become scores whose largest is 1."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.distillation.prediction_conversion import (
    PredictionConversion,
    converted_log_scores,
    prediction_conversion_loss,
)
from tests.detection.distillation.known import taps


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_loss_equals_numpy() -> None:
    student, teacher = draw(6, 4), draw(6, 5, seed=1)

    loss = prediction_conversion_loss(student, teacher)

    with_background = np.concatenate([student.numpy(), np.zeros((6, 1))], axis=1)
    softmax = np.exp(with_background) / np.exp(with_background).sum(axis=1, keepdims=True)
    converted = (softmax / softmax.max(axis=1, keepdims=True))[:, :4]
    scores = np.exp(teacher.numpy()) / np.exp(teacher.numpy()).sum(axis=1, keepdims=True)
    reference = -(scores[:, :4] * np.log(converted)).sum() / 6
    assert float(loss) == pytest.approx(reference, rel=1e-12)


def test_converted_scores_have_the_object_classes_and_one_as_their_largest() -> None:
    logits = torch.tensor([[2.0, 1.0, -3.0], [-1.0, -2.0, -4.0]])

    scores = converted_log_scores(logits).exp()

    assert scores.shape == (2, 3)
    # An object class wins in the first row, background (1, cut off) in the second.
    assert scores[0].tolist() == pytest.approx([1, np.exp(-1), np.exp(-5)])
    assert scores[1].tolist() == pytest.approx([np.exp(-1), np.exp(-2), np.exp(-4)])


def test_loss_does_not_overflow_for_large_logits() -> None:
    student = torch.tensor([[500.0, -500.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, 500.0, -500.0]])

    loss = prediction_conversion_loss(student, teacher)
    loss.backward()

    assert float(loss.detach()) == 1000
    assert student.grad is not None
    assert student.grad.tolist() == [[1, -1]]


def test_loss_vanishes_where_the_teacher_sees_background() -> None:
    background = torch.tensor([[-90.0, -90.0, 90.0]])

    assert float(prediction_conversion_loss(torch.tensor([[-5.0, -5.0]]), background)) == 0


def test_raising_the_teachers_class_lowers_the_loss() -> None:
    teacher = torch.tensor([[9.0, 0.0, 0.0]])

    low, high = (
        float(prediction_conversion_loss(torch.tensor([[logit, -4.0]]), teacher))
        for logit in (-4.0, -1.0)
    )

    assert high < low


def test_loss_passes_gradcheck_and_works_with_one_class() -> None:
    assert torch.autograd.gradcheck(
        lambda s: prediction_conversion_loss(s, draw(3, 5, seed=1)), draw(3, 4).requires_grad_()
    )
    loss = prediction_conversion_loss(torch.tensor([[-2.0]]), torch.tensor([[0.0, 0.0]]))
    assert float(loss) == 1  # half of 2


def test_without_regions_the_loss_is_zero_with_a_graph() -> None:
    student = torch.zeros(0, 4, requires_grad=True)

    loss = PredictionConversion()(taps(class_logits=student), taps(class_logits=torch.zeros(0, 5)))
    loss.backward()

    assert float(loss.detach()) == 0
    assert student.grad is not None
