"""DIST: correlation of class scores, over classes of a region and over regions of a class."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.distillation.dist import Dist, dist_loss
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import DistOptions
from tests.detection.distillation.known import taps
from tests.detection.distillation.neck_features import Floats


def logits(seed: int) -> Tensor:
    """Of six regions for 3 classes and the background."""
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(scores: Floats, temperature: float) -> Floats:
    raised = np.exp(scores / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def distance(first: Floats, second: Floats) -> float:
    """The mean over rows of 1 minus numpy's correlation."""
    rows = zip(first, second, strict=True)
    return float(np.mean([1 - np.corrcoef(one, other)[0, 1] for one, other in rows]))


@pytest.mark.parametrize(
    "options", [DistOptions(), DistOptions(inter=2, intra=0.5, temperature=4), DistOptions(inter=0)]
)
def test_loss_equals_numpy(options: DistOptions) -> None:
    student, teacher = logits(0), 2 * logits(1)

    loss = dist_loss(student, teacher, options)

    ours, theirs = (softmax(each.numpy(), options.temperature) for each in (student, teacher))
    expected = options.inter * distance(ours, theirs) + options.intra * distance(ours.T, theirs.T)
    assert float(loss) == pytest.approx(options.temperature**2 * expected, rel=1e-9)


def test_a_less_sure_student_with_the_same_order_has_nearly_no_loss_between_classes() -> None:
    """With two classes any two scores of the same order correlate fully."""
    teacher = torch.tensor([[9.0, 0.0], [-5.0, 0.0]])

    loss = dist_loss(0.1 * teacher, teacher, DistOptions(intra=0))

    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_no_regions_have_no_loss_over_the_classes_of_a_region() -> None:
    none = torch.zeros(0, 4, requires_grad=True)

    loss = dist_loss(none, torch.zeros(0, 4), DistOptions(intra=0))

    loss.backward()
    assert float(loss.detach()) == 0


def test_scores_that_do_not_vary_do_not_correlate() -> None:
    same = torch.zeros(1, 4)

    assert float(dist_loss(same, same, DistOptions())) == 2


def test_the_method_compares_all_regions() -> None:
    loss = Dist(DistOptions())(taps(class_logits=logits(0)), taps(class_logits=logits(1)))

    assert float(loss) == float(dist_loss(logits(0), logits(1), DistOptions()))


def test_the_loss_passes_gradcheck() -> None:
    teacher = logits(1)

    assert torch.autograd.gradcheck(
        lambda s: dist_loss(s, teacher, DistOptions(temperature=2)), logits(0).requires_grad_()
    )


def test_options_without_any_weight_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="inter and intra must not both be 0"):
        DistOptions(inter=0, intra=0)
