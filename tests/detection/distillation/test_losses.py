"""Each loss against a NumPy reference in float64, at equality, and its gradients."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from detection.distillation.class_aware_localisation import (
    ClassAwareLocalisation,
    class_aware_localisation_loss,
)
from detection.distillation.classification import Classification, classification_loss
from detection.distillation.proposal_feature import (
    ProposalFeature,
    Reduction,
    proposal_feature_loss,
)
from tests.detection.distillation.known import taps

Floats = NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("reduction", "divisor"), [("mean", 3 * 5 * 49), ("channel_sum", 3 * 49)])
def test_feature_loss_equals_numpy(reduction: Reduction, divisor: int) -> None:
    student, teacher = draw(3, 5, 7, 7), draw(3, 5, 7, 7, seed=1)

    loss = proposal_feature_loss(student, teacher, reduction)

    reference = ((student.numpy() - teacher.numpy()) ** 2).sum() / divisor
    assert float(loss) == pytest.approx(reference, rel=1e-12)


def test_feature_loss_is_the_squared_difference_when_it_is_the_same_everywhere() -> None:
    student, teacher = torch.full((2, 4, 7, 7), 3.0), torch.full((2, 4, 7, 7), 1.0)

    assert float(proposal_feature_loss(student, teacher, "mean")) == 4.0
    assert float(proposal_feature_loss(student, teacher, "channel_sum")) == 16.0
    assert float(proposal_feature_loss(student, student, "mean")) == 0.0


def test_classification_loss_equals_numpy() -> None:
    student, teacher = draw(6, 5, scale=3), draw(6, 5, seed=1, scale=3)

    loss = classification_loss(student, teacher)

    reference = -(softmax(teacher.numpy()) * np.log(softmax(student.numpy()))).sum() / 6
    assert float(loss) == pytest.approx(reference, rel=1e-12)


def test_classification_loss_of_equal_logits_is_the_entropy_and_minimal() -> None:
    logits = draw(6, 5, scale=3).requires_grad_()
    scores = softmax(logits.detach().numpy())

    loss = classification_loss(logits, logits.detach())
    loss.backward()

    assert float(loss.detach()) == pytest.approx(-(scores * np.log(scores)).sum() / 6, rel=1e-12)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


def test_classification_loss_of_uniform_scores_is_the_log_of_their_number() -> None:
    assert float(classification_loss(torch.zeros(3, 5), torch.zeros(3, 5))) == pytest.approx(
        np.log(5)
    )


def test_localisation_loss_equals_numpy() -> None:
    student, teacher, logits = draw(6, 16), draw(6, 16, seed=1), draw(6, 5, seed=2, scale=3)

    loss = class_aware_localisation_loss(student, teacher, logits)

    scores = softmax(logits.numpy())
    reference = 0.0
    for roi in range(6):
        for delta in range(4):
            weighted = sum(
                scores[roi, c] * (teacher[roi, 4 * c + delta] - student[roi, 4 * c + delta])
                for c in range(4)
            )
            reference += abs(float(weighted)) / 6
    assert float(loss) == pytest.approx(reference, rel=1e-12)


def test_localisation_differences_cancel_across_equally_likely_classes() -> None:
    teacher = torch.tensor([[1.0, 0, 0, 0, -1.0, 0, 0, 0]])
    student = torch.zeros(1, 8)

    equal = class_aware_localisation_loss(student, teacher, torch.tensor([[5.0, 5.0, -90.0]]))
    certain = class_aware_localisation_loss(student, teacher, torch.tensor([[90.0, -90.0, -90.0]]))

    assert float(equal) == pytest.approx(0, abs=1e-7)
    assert float(certain) == pytest.approx(1)


def test_localisation_loss_vanishes_on_background_and_for_equal_deltas() -> None:
    teacher, student = torch.ones(2, 8), torch.zeros(2, 8)
    background = torch.tensor([[-90.0, -90.0, 90.0]] * 2)

    assert float(class_aware_localisation_loss(student, teacher, background)) == 0
    assert float(class_aware_localisation_loss(teacher, teacher, torch.zeros(2, 3))) == 0


def test_losses_pass_gradcheck() -> None:
    deltas, logits = draw(3, 8).requires_grad_(), draw(3, 3, seed=3).requires_grad_()
    features = draw(2, 3, 2, 2, seed=4).requires_grad_()

    assert torch.autograd.gradcheck(
        lambda s: class_aware_localisation_loss(s, draw(3, 8, seed=1), draw(3, 3, seed=2)), deltas
    )
    assert torch.autograd.gradcheck(lambda s: classification_loss(s, draw(3, 3, seed=2)), logits)
    assert torch.autograd.gradcheck(
        lambda s: proposal_feature_loss(s, draw(2, 3, 2, 2, seed=5), "mean"), features
    )


def test_adapter_uses_its_leading_outputs_for_a_narrow_teacher() -> None:
    torch.manual_seed(0)
    loss = ProposalFeature(student_channels=4, teacher_channels=12)
    student, teacher = torch.randn(3, 4, 7, 7), torch.randn(3, 8, 7, 7)

    value = loss(taps(region_features=student), taps(region_features=teacher))
    value.backward()

    adapted = loss.adapter(student)[:, :8]
    torch.testing.assert_close(value, (adapted - teacher).square().mean())
    assert tuple(loss.adapter.weight.shape) == (12, 4, 3, 3)
    assert loss.adapter.weight.grad is not None
    assert loss.adapter.weight.grad[:8].abs().amin(dim=(1, 2, 3)).min() > 0
    assert not loss.adapter.weight.grad[8:].any()


def test_losses_are_zero_with_a_graph_when_there_is_nothing_to_compare() -> None:
    nothing = taps(
        region_features=torch.zeros(0, 4, 7, 7, requires_grad=True),
        class_logits=torch.zeros(0, 3, requires_grad=True),
        box_deltas=torch.zeros(0, 8, requires_grad=True),
    )
    for loss in (
        ProposalFeature(student_channels=4, teacher_channels=4),
        Classification(),
        ClassAwareLocalisation(),
    ):
        value = loss(nothing, nothing)
        value.backward()
        assert float(value.detach()) == 0
        gradients = [parameter.grad for parameter in loss.parameters()]
        assert all(gradient is not None and not gradient.any() for gradient in gradients)
