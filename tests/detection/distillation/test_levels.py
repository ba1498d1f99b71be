"""Whole maps are compared on the teacher's grid, whatever sizes the two saw."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from detection.data.batches import Batch, make_batches
from detection.data.coco import CocoSplit
from detection.distillation.cwd import Cwd
from detection.distillation.feature_matching import FeatureMatching
from detection.distillation.levels import LevelAdapters
from detection.distillation.method import DistillationMethod
from detection.distillation.mgd import Mgd
from searchd.domain.distillation_methods import CwdOptions, FeatureMatchingOptions, MgdOptions
from searchd.domain.resolution import Resolution
from tests.detection.distillation.known import taps, whole_necks
from tests.detection.distillation.neck_features import adapted, pair, sizes

METHODS: dict[str, tuple[type[DistillationMethod], Any]] = {
    "feature_matching": (FeatureMatching, FeatureMatchingOptions()),
    "cwd": (Cwd, CwdOptions()),
    "mgd": (Mgd, MgdOptions(scale=1.0)),
}
"""That compare whole maps."""


def seen_at(split: CocoSplit, low: int, high: int) -> tuple[Batch, Batch]:
    """Two images, one of them flipped, for the student and for the teacher."""
    views = [Resolution(low, low), Resolution(high, high)]
    found = make_batches(split, [0, 1], views, [False, True])
    return found[views[0]], found[views[1]]


def grid(batch: Batch, stride: int) -> tuple[int, int]:
    height, width = batch.inputs.shape[-2:]
    return height // stride, width // stride


def places(batch: Batch, stride: int) -> Tensor:
    """2 x 2 x H x W: each cell's centre, x and y in pixels of the original image."""
    sides = (torch.arange(side).double() + 0.5 for side in grid(batch, stride))
    y, x = torch.meshgrid(*sides, indexing="ij")
    return torch.stack([x, y]).mul(stride / batch.samples[0].scale_factor[0]).repeat(2, 1, 1, 1)


def random(batch: Batch, channels: int, seed: int) -> dict[int, Tensor]:
    """2 x channels x H x W of either stride."""
    generator = torch.Generator().manual_seed(seed)
    return {
        stride: torch.randn(
            2, channels, *grid(batch, stride), generator=generator, dtype=torch.float64
        )
        for stride in (8, 16)
    }


def method_of(name: str, student: int, teacher: int) -> DistillationMethod:
    """On strides 8 and 16."""
    torch.manual_seed(0)
    method, options = METHODS[name]
    return method.build(options, pair(sizes(student), sizes(teacher))).double()


def both(
    student: dict[int, Tensor], low: Batch, teacher: dict[int, Tensor], high: Batch
) -> tuple[Any, Any]:
    return taps(neck=student, batch=low), taps(own_neck=teacher, batch=high)


# Paddings: none and none; 72 to 96 and none; none and 72 to 96; a smaller teacher.
@pytest.mark.parametrize(("low", "high"), [(64, 128), (72, 160), (32, 72), (160, 72)])
def test_every_cell_of_the_teacher_meets_the_students_features_of_its_own_place(
    shapes: CocoSplit, low: int, high: int
) -> None:
    smaller, larger = seen_at(shapes, low, high)
    student, teacher = ({s: places(batch, s) for s in (8, 16)} for batch in (smaller, larger))

    levels = LevelAdapters(pair(sizes(2), sizes(2))).on_teachers_grid(
        *both(student, smaller, teacher, larger)
    )

    assert list(levels) == [8, 16]
    for stride, (found, target) in levels.items():
        assert torch.equal(target, teacher[stride])
        # Beyond the student's outermost centres its map is continued.
        expected = target.clamp(student[stride].min(), student[stride].max())
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_without_padding_the_adapted_map_is_upsampled(shapes: CocoSplit) -> None:
    low, high = seen_at(shapes, 64, 160)
    method = method_of("feature_matching", 3, 5)
    assert isinstance(method, FeatureMatching)
    student, teacher = random(low, 3, seed=0), random(high, 5, seed=1)

    loss = method(*both(student, low, teacher, high))

    means = []
    for stride, target in teacher.items():
        mapped = torch.from_numpy(adapted(method.adapters.convs[str(stride)], student[stride]))
        larger = nn.functional.interpolate(mapped, scale_factor=2.5, mode="bilinear")
        means.append((larger - target).square().mean())
    torch.testing.assert_close(loss, torch.stack(means).mean())


@pytest.mark.parametrize("name", METHODS)
def test_equal_sizes_are_compared_to_the_bit_as_one_input_is(name: str, shapes: CocoSplit) -> None:
    low, _ = seen_at(shapes, 72, 160)
    (copy, _), method = seen_at(shapes, 72, 160), method_of(name, 3, 5)
    student, teacher = random(low, 3, seed=0), random(low, 5, seed=1)

    def loss_of(student_taps: Any, teacher_taps: Any) -> Tensor:
        torch.manual_seed(0)  # MGD's masks
        return method(student_taps, teacher_taps)

    alone = loss_of(*whole_necks(student, teacher))

    assert torch.equal(loss_of(*both(student, low, teacher, low)), alone)
    assert torch.equal(loss_of(*both(student, low, teacher, copy)), alone)


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_at_another_size_equals_finite_differences(
    name: str, shapes: CocoSplit
) -> None:
    low, high = seen_at(shapes, 24, 72)  # padded to 32 and to 96
    method = method_of(name, 2, 3)
    student, teacher = random(low, 2, seed=0), random(high, 3, seed=1)

    def loss_of(level: Tensor) -> Tensor:
        torch.manual_seed(0)  # MGD's masks
        return method(*both({**student, 8: level}, low, teacher, high))

    assert gradcheck(loss_of, student[8].requires_grad_())


def test_each_adapter_learns_at_another_size(shapes: CocoSplit) -> None:
    low, high = seen_at(shapes, 72, 160)
    method = method_of("feature_matching", 3, 5)

    method(*both(random(low, 3, seed=0), low, random(high, 5, seed=1), high)).backward()

    assert all(p.grad is not None and p.grad.abs().min() > 0 for p in method.parameters())
