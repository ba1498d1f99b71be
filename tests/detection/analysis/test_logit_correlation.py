"""Correlation of class logits in student and teacher."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from detection.analysis.logit_correlation import (
    LogitCorrelations,
    correlation,
    logit_correlations,
)
from detection.data.batches import Batch
from searchd.domain.detector import Family
from searchd.domain.errors import InvalidValueError
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.teaching import student_of


def test_correlation_is_pearsons() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, -1.0], [3.0, 6.0, 0.0]])
    expected = [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(correlation(logits, "student"), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.rand(1, 4), "student's logits of 4 classes on 1 regions.*use more images"),
        (torch.rand(0, 4), "on 0 regions"),
        (torch.rand(5, 1), "of 1 classes"),
        (torch.tensor([[1.0, 2.0], [1.0, 3.0]]), "same logit on every region"),
    ],
)
def test_what_cannot_be_correlated_is_refused(logits: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        correlation(logits, "student")


def test_difference_is_over_pairs_of_different_classes() -> None:
    found = LogitCorrelations(
        num_regions=9,
        student=np.array([[1.0, 0.5], [0.5, 1.0]]),
        teacher=np.array([[1.0, -0.25], [-0.25, 1.0]]),
    )
    np.testing.assert_array_equal(found.difference, [[0, 0.75], [0.75, 0]])
    assert found.mean_absolute_difference == 0.75


def test_a_student_differs_in_nothing_from_itself(batches: Sequence[Batch]) -> None:
    student = student_of(Family.FASTER_RCNN)
    torch.nn.init.normal_(student.roi_head.bbox_head.fc_cls.weight)
    found = logit_correlations(student, student.eval(), batches)
    assert found.num_regions > 20
    assert found.mean_absolute_difference == pytest.approx(0, abs=1e-5)
    assert np.abs(found.student - np.eye(4)).max() > 0.1


@pytest.mark.parametrize("family", list(Family))
def test_students_of_every_family_are_compared_with_a_teacher(
    family: Family, batches: Sequence[Batch]
) -> None:
    student = student_of(family)
    torch.manual_seed(2)
    teacher = tiny("resnet18", 24).eval()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    found = logit_correlations(student, teacher, batches)
    assert found.student.shape == found.teacher.shape == (4, 4)
    assert found.mean_absolute_difference > 0.001
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
