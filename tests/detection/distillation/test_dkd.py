"""DKD: the right class against the others, and the others among each other."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.distillation.dkd import Dkd, dkd_loss
from searchd.domain.errors import InvalidValueError
from searchd.domain.method_options import DkdOptions
from tests.detection.distillation.known import taps
from tests.detection.distillation.neck_features import Floats

LABELS = torch.tensor([0, 2, 4, 4, 1])
"""Right classes of five regions; 4 is the background."""


def logits(seed: int) -> Tensor:
    """Of five regions for 4 classes and the background."""
    return torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kl(p: Floats, q: Floats) -> float:
    return float((p * np.log(p / q)).sum())


def reference(student: Floats, teacher: Floats, labels: list[int], options: DkdOptions) -> float:
    """The definition, region by region, with probabilities."""
    total = 0.0
    for row, label in enumerate(labels):
        found = []
        for each in (teacher[row], student[row]):
            p = np.exp(each / options.temperature)
            p = p / p.sum()
            others = np.delete(p, label)
            found.append((np.array([p[label], 1 - p[label]]), others / others.sum()))
        (target, others), (own_target, own_others) = found
        total += options.target * kl(target, own_target) + options.others * kl(others, own_others)
    return options.temperature**2 * total / len(labels)


@pytest.mark.parametrize(
    "options", [DkdOptions(), DkdOptions(target=0.3, others=8, temperature=4), DkdOptions(target=0)]
)
def test_loss_equals_numpy(options: DkdOptions) -> None:
    student, teacher = logits(0), 2 * logits(1)

    loss = dkd_loss(student, teacher, LABELS, options)

    expected = reference(student.numpy(), teacher.numpy(), LABELS.tolist(), options)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


def test_weighted_by_the_teachers_doubt_it_is_the_plain_divergence() -> None:
    """KL(teacher || student) = KL of the right class + (1 - p) KL of the others."""
    student, teacher = logits(0)[:1], logits(1)[:1]
    doubt = 1 - float(teacher.softmax(dim=1)[0, LABELS[0]])

    loss = dkd_loss(student, teacher, LABELS[:1], DkdOptions(others=doubt))

    plain = kl(teacher.softmax(dim=1).numpy(), student.softmax(dim=1).numpy())
    assert float(loss) == pytest.approx(plain, rel=1e-12)


def test_equal_scores_have_no_loss_also_where_they_are_extreme() -> None:
    scores = 1e3 * logits(0)

    assert float(dkd_loss(scores, scores, LABELS, DkdOptions())) == 0


def test_no_regions_have_no_loss() -> None:
    none = torch.zeros(0, 5, requires_grad=True)

    loss = dkd_loss(none, torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), DkdOptions())

    loss.backward()
    assert float(loss.detach()) == 0


def test_the_method_takes_the_labels_of_the_students_regions() -> None:
    student = taps(class_logits=logits(0), regions=taps(labels=LABELS))

    loss = Dkd(DkdOptions())(student, taps(class_logits=logits(1)))

    assert float(loss) == float(dkd_loss(logits(0), logits(1), LABELS, DkdOptions()))


def test_the_loss_passes_gradcheck() -> None:
    teacher = logits(1)

    assert torch.autograd.gradcheck(
        lambda s: dkd_loss(s, teacher, LABELS, DkdOptions(temperature=2)),
        logits(0).requires_grad_(),
    )


def test_options_without_any_weight_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="target and others must not both be 0"):
        DkdOptions(target=0, others=0)
