"""Localisation compares the deltas of the object's class on positives, as a mean over regions."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.distillation.localisation import Localisation, localisation_loss
from detection.distillation.taps import Regions
from tests.detection.distillation.known import taps


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def regions(labels: list[int], num_classes: int) -> Regions:
    found = torch.tensor(labels, dtype=torch.long)
    return Regions(
        rois=torch.zeros(len(labels), 5),
        is_positive=found < num_classes,
        is_compared=found < num_classes,
        labels=found,
    )


def test_loss_equals_numpy() -> None:
    student, teacher, labels = draw(5, 12), draw(5, 12, seed=1), [2, 0, 1, 1, 2]

    loss = localisation_loss(student, teacher, torch.tensor(labels), num_regions=20)

    reference = 0.0
    for region, label in enumerate(labels):
        difference = student.numpy() - teacher.numpy()
        reference += np.abs(difference[region, 4 * label : 4 * label + 4]).sum() / 20
    assert float(loss) == pytest.approx(reference, rel=1e-12)


def test_other_classes_and_negatives_do_not_count() -> None:
    student, teacher = torch.zeros(3, 8), torch.full((3, 8), 100.0)
    teacher[0, 4:] = torch.tensor([1.0, -2.0, 3.0, -4.0])
    teacher[2, :4] = 5.0
    found = regions([1, 2, 0], num_classes=2)

    loss = Localisation()(taps(regions=found, box_deltas=student), taps(box_deltas=teacher))

    assert float(loss) == (10 + 20) / 3


def test_loss_is_zero_for_equal_deltas() -> None:
    deltas = draw(3, 8)

    assert float(localisation_loss(deltas, deltas, torch.tensor([0, 1, 0]), num_regions=3)) == 0


def test_gradient_reaches_the_students_deltas_of_the_class_alone() -> None:
    student = torch.zeros(2, 8, requires_grad=True)
    found = regions([1, 2], num_classes=2)

    Localisation()(
        taps(regions=found, box_deltas=student), taps(box_deltas=torch.ones(2, 8))
    ).backward()

    assert student.grad is not None
    assert student.grad.tolist() == [[0, 0, 0, 0, -0.5, -0.5, -0.5, -0.5], [0] * 8]
    assert torch.autograd.gradcheck(
        lambda s: localisation_loss(s, draw(2, 8), torch.tensor([0, 1]), num_regions=2),
        draw(2, 8, seed=1).requires_grad_(),
    )


def test_one_class_has_one_set_of_deltas() -> None:
    loss = localisation_loss(torch.zeros(1, 4), torch.ones(1, 4), torch.tensor([0]), num_regions=1)

    assert float(loss) == 4


def test_without_positives_the_loss_is_zero_with_a_graph() -> None:
    student = torch.ones(2, 8, requires_grad=True)

    loss = Localisation()(
        taps(regions=regions([2, 2], num_classes=2), box_deltas=student),
        taps(box_deltas=torch.zeros(2, 8)),
    )
    loss.backward()

    assert float(loss.detach()) == 0
    assert student.grad is not None
    assert not student.grad.any()
