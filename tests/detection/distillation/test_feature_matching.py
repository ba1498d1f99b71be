"""Feature matching (MTPD): r() is chosen by shape, levels by stride, and the loss equals NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from detection.distillation.feature_matching import FeatureMatching, feature_matching_loss
from searchd.domain.distillation_methods import FeatureMatchingOptions
from searchd.domain.errors import InvalidValueError
from tests.detection.distillation.known import whole_necks
from tests.detection.distillation.neck_features import adapted, neck, pair, sizes

TWO_STAGE, ONE_STAGE = (4, 8, 16, 32, 64), (8, 16, 32, 64, 128)


def matching(student: int, teacher: int, reduction: str = "mean") -> FeatureMatching:
    torch.manual_seed(0)
    options = FeatureMatchingOptions(reduction=reduction)  # type: ignore[arg-type] # a test's word
    return FeatureMatching.build(options, pair(sizes(student), sizes(teacher))).double()


def loss_of(
    method: FeatureMatching, student: dict[int, Tensor], teacher: dict[int, Tensor]
) -> Tensor:
    return method(*whole_necks(student, teacher))


def test_necks_of_equal_width_and_size_are_compared_as_they_are() -> None:
    method = matching(3, 3)
    student, teacher = neck(3, 8, 16), neck(3, 8, 16, seed=1)

    loss = loss_of(method, student, teacher)

    levels = [((student[s] - teacher[s]).numpy() ** 2).mean() for s in (8, 16)]
    assert list(method.parameters()) == []
    assert float(loss) == pytest.approx(np.mean(levels), rel=1e-12)
    assert float(loss_of(method, teacher, teacher)) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_necks_of_other_widths_are_compared_through_a_1x1_convolution_of_each_level(
    reduction: str,
) -> None:
    method = matching(3, 5, reduction)
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)

    loss = loss_of(method, student, teacher)

    squared = [
        (adapted(method.adapters.convs[str(s)], student[s]) - teacher[s].numpy()) ** 2
        for s in (8, 16)
    ]
    expected = {
        "mean": np.mean([level.mean() for level in squared]),
        "sum": np.sum([level.sum() for level in squared]),
    }
    assert [tuple(p.shape) for p in method.parameters()] == [(5, 3, 1, 1), (5,)] * 2
    assert float(loss.detach()) == pytest.approx(expected[reduction], rel=1e-12)


def test_a_smaller_map_is_upsampled_to_the_teachers_exact_size() -> None:
    student = {8: torch.tensor([[[[0.0, 4.0]]]]), 16: torch.ones(1, 1, 1, 1)}
    teacher = {8: torch.zeros(1, 1, 2, 4), 16: torch.zeros(1, 1, 3, 3)}

    loss = loss_of(matching(1, 1), student, teacher)

    # Bilinear, align_corners=False: 0 1 3 4 in both rows.
    assert float(loss) == pytest.approx(((0 + 1 + 9 + 16) / 4 + 1) / 2)


def test_width_and_size_may_differ_together() -> None:
    method = matching(3, 5)
    teacher = {8: neck(5, 4, seed=1)[4], 16: neck(5, 8, seed=2)[8]}

    loss = loss_of(method, neck(3, 8, 16), teacher)

    first = torch.from_numpy(adapted(method.adapters.convs["8"], neck(3, 8)[8]))
    upsampled = torch.nn.functional.interpolate(first, size=(8, 16), mode="bilinear")
    torch.testing.assert_close(method.adapters(neck(3, 8, 16), teacher)[8][0], upsampled)
    assert torch.isfinite(loss)


def test_levels_of_a_one_stage_and_a_two_stage_neck_meet_at_strides_8_to_64() -> None:
    method = FeatureMatching(pair(sizes(3, ONE_STAGE), sizes(5, TWO_STAGE, two_stage=True)))

    assert method.adapters.strides == (8, 16, 32, 64)
    assert [name for name, _ in method.named_parameters()][::2] == [
        "adapters.convs.8.weight",
        "adapters.convs.16.weight",
        "adapters.convs.32.weight",
        "adapters.convs.64.weight",
    ]


def test_necks_without_a_common_level_are_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"strides \(8, 16\) and the teacher's \(32,\)"):
        FeatureMatching(pair(sizes(3), sizes(3, (32,))))


@pytest.mark.parametrize(("student", "teacher"), [(3, 5), (5, 5)])
def test_a_narrower_teacher_is_compared_with_the_leading_channels(
    student: int, teacher: int
) -> None:
    method = matching(student, teacher)
    features, narrow = neck(student, 8, 16), neck(4, 8, 16, seed=1)

    loss = loss_of(method, features, narrow)

    wide = method.adapters(features, neck(5, 8, 16))
    levels = [(wide[s][0][:, :4] - narrow[s]).square().mean() for s in (8, 16)]
    torch.testing.assert_close(loss, torch.stack(levels).mean())


@pytest.mark.parametrize("teacher", [3, 5])
def test_a_narrower_student_serves_the_same_adapters(teacher: int) -> None:
    method = matching(3, teacher)
    narrow = {stride: level[:, :2].requires_grad_() for stride, level in neck(3, 8, 16).items()}

    loss_of(method, narrow, neck(teacher, 8, 16, seed=1)).backward()

    assert all(level.grad is not None and level.grad.abs().min() > 0 for level in narrow.values())


def test_the_loss_passes_gradcheck() -> None:
    student = neck(2, 16)[16].requires_grad_()
    target = neck(2, 16, seed=1)[16]

    assert torch.autograd.gradcheck(lambda s: feature_matching_loss([(s, target)]), student)
