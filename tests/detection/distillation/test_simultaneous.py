import pytest
import torch
from torch import Tensor

from detection.data.coco import CocoSplit
from detection.distillation.feature_matching import feature_matching_loss
from detection.distillation.method import Pair, Sizes
from detection.distillation.simultaneous import Definition, SimultaneousMatching
from searchd.domain.errors import InvalidValueError

LEVELS = {8: 8, 16: 4, 32: 2}
"""Side of the map at each stride."""


def sizes(channels: int, strides: tuple[int, ...] = tuple(LEVELS)) -> Sizes:
    return Sizes(
        two_stage=True,
        num_classes=4,
        strides=strides,
        neck_channels=channels,
        embedding_channels=None,
        num_anchors=1,
    )


def pairs(shapes: CocoSplit, student: int, *teachers: Sizes) -> list[Pair]:
    return [Pair(student=sizes(student), teacher=one, train_split=shapes) for one in teachers]


def neck(seed: int, channels: int, strides: tuple[int, ...] = tuple(LEVELS)) -> dict[int, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        stride: torch.randn(2, channels, LEVELS[stride], LEVELS[stride], generator=generator)
        for stride in strides
    }


def student_neck(channels: int) -> dict[int, Tensor]:
    return {stride: level.requires_grad_() for stride, level in neck(0, channels).items()}


def loss_and_gradients(
    definition: Definition, all_pairs: list[Pair], teachers: list[dict[int, Tensor]]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    student = student_neck(6)
    loss = SimultaneousMatching(all_pairs, definition)(student, teachers)
    return loss.detach(), torch.autograd.grad(loss, tuple(student.values()))


def test_both_definitions_have_one_gradient_when_widths_are_equal(shapes: CocoSplit) -> None:
    teachers = [neck(seed, 6) for seed in (1, 2, 3)]
    all_pairs = pairs(shapes, 6, *[sizes(6)] * 3)

    mean, mean_gradients = loss_and_gradients("mean_of_losses", all_pairs, teachers)
    average, average_gradients = loss_and_gradients("average_features", all_pairs, teachers)

    for one, other in zip(mean_gradients, average_gradients, strict=True):
        torch.testing.assert_close(one, other)
    variance = torch.stack(
        [torch.stack([t[s] for t in teachers]).var(dim=0, correction=0).mean() for s in LEVELS]
    ).mean()
    torch.testing.assert_close(mean, average + variance)


def test_the_papers_sum_of_losses_is_the_mean_times_the_number_of_teachers(
    shapes: CocoSplit,
) -> None:
    teachers = [neck(seed, 6) for seed in (1, 2, 3)]
    _, gradients = loss_and_gradients(
        "average_features", pairs(shapes, 6, *[sizes(6)] * 3), teachers
    )
    student = student_neck(6)
    one_each = [
        feature_matching_loss((student[s], teacher[s]) for s in LEVELS) for teacher in teachers
    ]
    of_sum = torch.autograd.grad(torch.stack(one_each).sum(), tuple(student.values()))
    for one, other in zip(of_sum, gradients, strict=True):
        torch.testing.assert_close(one, 3 * other)


@pytest.mark.parametrize("definition", ["mean_of_losses", "average_features"])
def test_one_teacher_is_plain_feature_matching(shapes: CocoSplit, definition: Definition) -> None:
    student, teacher = student_neck(6), neck(1, 6)
    found = SimultaneousMatching(pairs(shapes, 6, sizes(6)), definition)(student, [teacher])
    torch.testing.assert_close(
        found, feature_matching_loss((student[s], teacher[s]) for s in LEVELS)
    )


def test_every_teacher_has_adapters_of_its_own_and_may_have_other_levels(
    shapes: CocoSplit,
) -> None:
    all_pairs = pairs(shapes, 6, sizes(4), sizes(8, (16, 32)))
    matching = SimultaneousMatching(all_pairs)
    loss = matching(student_neck(6), [neck(1, 4), neck(2, 8, (16, 32))])
    loss.backward()
    assert [adapters.strides for adapters in matching.adapters] == [(8, 16, 32), (16, 32)]
    parameters = list(matching.parameters())
    assert len(parameters) == 2 * (3 + 2)
    assert all(p.grad is not None and p.grad.any() for p in parameters)


def test_averaged_features_share_one_adapter_and_the_levels_that_all_have(
    shapes: CocoSplit,
) -> None:
    all_pairs = pairs(shapes, 6, sizes(4), sizes(4, (16, 32)))
    matching = SimultaneousMatching(all_pairs, "average_features")
    loss = matching(student_neck(6), [neck(1, 4), neck(2, 4, (16, 32))])
    loss.backward()
    assert [adapters.strides for adapters in matching.adapters] == [(16, 32)]
    assert all(p.grad is not None and p.grad.any() for p in matching.parameters())


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ([sizes(4), sizes(8)], r"have \[4, 8\] channels"),
        ([sizes(4, (8,)), sizes(4, (16,))], r"have strides \[\(8,\), \(16,\)\]"),
    ],
)
def test_features_that_cannot_be_averaged_are_refused(
    shapes: CocoSplit, teachers: list[Sizes], message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        SimultaneousMatching(pairs(shapes, 6, *teachers), "average_features")
