"""Imitation under a mask (G-DetKD's baselines) equals NumPy, for every mask."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor, distributed

from detection.distillation.feature_imitation import FeatureImitation, feature_imitation_loss
from detection.distillation.masks import anchor_masks, gaussian_mask, ground_truth_mask
from searchd.domain.distillation_methods import FeatureImitationOptions
from searchd.domain.errors import InvalidValueError
from tests.detection.distillation.known import taps
from tests.detection.distillation.neck_features import Floats, adapted, holding, neck, pair, sizes
from tests.detection.two_processes import run_in_two_processes

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

ANCHORS = AnchorGenerator(strides=[8, 16], scales=[2.0], ratios=[1.0])
BATCH = holding([[8.0, 8.0, 30.0, 24.0], [3.0, 2.0, 9.0, 9.0]], [])
OBJECTS = [sample.gt_instances.bboxes for sample in BATCH.samples]
MAPS = {8: (4, 8), 16: (2, 4)}
MASKS = {
    "whole": {stride: torch.ones(2, *size).double() for stride, size in MAPS.items()},
    "anchor": dict(zip(MAPS, anchor_masks(ANCHORS, OBJECTS, list(MAPS.values())), strict=True)),
    "gaussian": {stride: gaussian_mask(OBJECTS, stride, size) for stride, size in MAPS.items()},
    "ground_truth": {
        stride: ground_truth_mask(OBJECTS, stride, size) for stride, size in MAPS.items()
    },
}


def imitation(mask: str) -> FeatureImitation:
    torch.manual_seed(0)
    options = FeatureImitationOptions(mask=mask)  # type: ignore[arg-type] # a test's word
    student = sizes(3, anchors=ANCHORS)
    return FeatureImitation.build(options, pair(student, sizes(5))).double()


def reference(method: FeatureImitation, student: dict[int, Tensor], mask: str) -> float:
    teacher, total, points = neck(5, 8, 16, seed=1), 0.0, 0.0
    for stride, where in MASKS[mask].items():
        mapped = adapted(method.adapters[str(stride)], student[stride])
        squared = (mapped - teacher[stride].numpy()) ** 2
        for image, row, column in np.ndindex(*where.shape):
            weight = float(where[image, row, column])
            total += weight * float(squared[image, :, row, column].sum())
            points += weight
    return total / (2 * points)


@pytest.mark.parametrize("mask", list(MASKS))
def test_loss_equals_numpy(mask: str) -> None:
    method, student = imitation(mask), neck(3, 8, 16)

    loss = method(taps(neck=student, batch=BATCH), taps(neck=neck(5, 8, 16, seed=1)))

    assert float(MASKS[mask][8].sum()) > 0
    assert float(loss.detach()) == pytest.approx(reference(method, student, mask), rel=1e-12)


def test_only_what_the_mask_shows_counts_and_channels_add_up() -> None:
    target: Floats = np.zeros((1, 2, 1, 3))
    features = torch.tensor([[[[1.0, 9.0, 2.0]], [[3.0, 9.0, 0.0]]]])
    mask = torch.tensor([[[[1.0, 0.0, 0.5]]]])

    loss = feature_imitation_loss([(features, torch.from_numpy(target).float(), mask)])

    # (1 * (1 + 9) + 0.5 * 4) / (2 * 1.5)
    assert float(loss) == pytest.approx(4.0)


def test_every_level_has_a_convolution_of_its_own_and_has_it_for_equal_widths() -> None:
    method = FeatureImitation(pair(sizes(4), sizes(4)))

    shapes = {name: tuple(value.shape) for name, value in method.state_dict().items()}
    assert shapes == {
        f"adapters.{stride}.{name}": shape
        for stride in (8, 16)
        for name, shape in (("weight", (4, 4, 1, 1)), ("bias", (4,)))
    }


def test_the_one_convolution_of_an_earlier_version_is_loaded_into_every_level() -> None:
    earlier = {"adapter.weight": torch.full((5, 3, 1, 1), 2.0), "adapter.bias": torch.ones(5)}
    method = imitation("whole")

    method.load_state_dict(earlier)

    assert [float(each.weight[0, 0]) for each in method.linear_adapters] == [2, 2]
    assert [float(each.bias[4]) for each in method.linear_adapters] == [1, 1]  # type: ignore[index]


@pytest.mark.parametrize("mask", ["anchor", "gaussian", "ground_truth"])
def test_without_objects_the_loss_is_zero_and_has_a_graph_to_everything(mask: str) -> None:
    method = imitation(mask)
    student = {stride: level.requires_grad_() for stride, level in neck(3, 8, 16).items()}

    loss = method(taps(neck=student, batch=holding([], [])), taps(neck=neck(5, 8, 16, seed=1)))
    loss.backward()

    reached = [*student.values(), *method.parameters()]
    assert float(loss.detach()) == 0
    assert all(tensor.grad is not None and not tensor.grad.any() for tensor in reached)


def test_gradient_reaches_the_student_inside_the_mask_alone() -> None:
    student = {stride: level.requires_grad_() for stride, level in neck(3, 8, 16).items()}
    method = imitation("ground_truth")

    method(taps(neck=student, batch=BATCH), taps(neck=neck(5, 8, 16, seed=1))).backward()

    gradient = student[8].grad
    assert gradient is not None
    assert torch.equal(gradient.abs().sum(dim=1) > 0, MASKS["ground_truth"][8] > 0)


def test_the_anchor_mask_is_refused_for_a_student_without_anchors() -> None:
    with pytest.raises(InvalidValueError, match="fit are whole, gaussian and ground_truth"):
        FeatureImitation(pair(sizes(3), sizes(3, anchors=ANCHORS)), "anchor")


def test_masks_follow_a_teacher_that_sees_a_larger_image() -> None:
    method = imitation("anchor")
    larger = {8: neck(5, 4, seed=1)[4], 16: neck(5, 8, seed=2)[8]}
    student = neck(3, 8, 16)

    loss = method(taps(neck=student, batch=BATCH), taps(neck=larger))

    masks = [MASKS["anchor"][s].repeat_interleave(2, 1).repeat_interleave(2, 2) for s in MAPS]
    mapped = [torch.from_numpy(adapted(method.adapters[str(s)], student[s])) for s in MAPS]
    squared = [
        (torch.nn.functional.interpolate(m, scale_factor=2, mode="bilinear") - t).square().sum(1)
        for m, t in zip(mapped, larger.values(), strict=True)
    ]
    total = sum(float((m * s).sum()) for m, s in zip(masks, squared, strict=True))
    points = sum(float(m.sum()) for m in masks)
    assert float(loss.detach()) == pytest.approx(total / (2 * points), rel=1e-12)


SIDES = [
    (holding([[8.0, 8.0, 30.0, 24.0]]), holding([[3.0, 2.0, 9.0, 9.0]])),
    (holding([]), holding([[8.0, 8.0, 30.0, 24.0]])),
    (holding([]), holding([])),
]
"""Of rank 0 and 1, step by step; an image each."""


def of_ranks(*ranks: int) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Student and teacher features of the image of each rank."""
    student, teacher = neck(3, 8, 16), neck(5, 8, 16, seed=1)
    chosen = list(ranks)
    return (
        {stride: level[chosen] for stride, level in student.items()},
        {stride: level[chosen] for stride, level in teacher.items()},
    )


def loss_and_gradient(batch: Any, *ranks: int) -> tuple[Tensor, Tensor]:
    method = imitation("gaussian")
    student, teacher = of_ranks(*ranks)
    loss = method(taps(neck=student, batch=batch), taps(neck=teacher))
    loss.backward()
    gradients = [adapter.weight.grad for adapter in method.linear_adapters]
    return loss.detach(), torch.stack([each for each in gradients if each is not None])


def test_the_mean_over_two_processes_equals_one_with_the_batch_of_both(tmp_path: Path) -> None:
    run_in_two_processes(_rank, str(tmp_path))

    zero, one = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))

    for step, (left, right) in enumerate(SIDES):
        both = holding(*([s.gt_instances.bboxes.tolist() for s in (*left.samples, *right.samples)]))
        loss, gradient = loss_and_gradient(both, 0, 1)
        torch.testing.assert_close((zero[step][0] + one[step][0]) / 2, loss)
        torch.testing.assert_close((zero[step][1] + one[step][1]) / 2, gradient)
        assert bool(loss > 0) == (step < 2)


def _rank(rank: int, folder: str) -> None:
    """One of two data-parallel processes."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.save([loss_and_gradient(s[rank], rank) for s in SIDES], f"{folder}/rank{rank}.pt")
    distributed.destroy_process_group()
