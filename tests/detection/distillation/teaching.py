"""Short trainings of tiny students under tiny teachers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import SGD

from detection.data.batches import TrainingBatches
from detection.data.coco import CocoSplit
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.domain.resolution import Resolution
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny

NUM_REGIONS = 16
"""Per image, of the one-stage students."""


def student_of(family: Family) -> Any:
    """A random student with few regions."""
    torch.manual_seed(1)
    model = tiny("resnet18", 16, family)
    if not family.two_stage:
        model.train_cfg = {**(model.train_cfg or {}), "sampled_rois": NUM_REGIONS}
    if family is Family.FCOS:
        # Untrained, its boxes are almost empty; so they are four cells wide.
        torch.nn.init.constant_(model.bbox_head.conv_reg.bias, 2)
    if family is Family.GFL:
        expect_two_strides(model)
    if family is Family.VFNET:  # its first boxes would be as large as the image
        torch.nn.init.constant_(model.bbox_head.vfnet_reg.bias, -1)
    return model


def expect_two_strides(model: Any) -> None:
    """Let a GFL expect each side of a box about two strides away. Untrained, it expects eight."""
    bias = model.bbox_head.gfl_reg.bias
    with torch.no_grad():
        bias.view(4, 17)[:, 2] = 5


def distiller_of(
    name: MethodName, student: Any, teacher: Any, split: CocoSplit, **changes: Any
) -> Distiller:
    """With one method, whose adapters are always the same.

    Args:
        changes: Of the `MethodSpec`: weight, options.
    """
    torch.manual_seed(5)
    spec = MethodSpec(name=name, **changes)
    return Distiller((spec,), teacher, pair_of(student, teacher, split))


def train(
    model: Any,
    split: CocoSplit,
    num_steps: int,
    distiller: Distiller | None = None,
    *,
    detection_losses: bool = True,
    learning_rate: float = 0.03,
) -> dict[str, list[float]]:
    """Train a detector, with adapters frozen; each loss, step by step."""
    batches = TrainingBatches(
        split, batch_size=4, resolutions=[Resolution(64, 64)], masks=True, seed=1
    )
    optimizer = SGD(model.parameters(), lr=learning_rate, momentum=0.9)
    torch.manual_seed(0)

    def losses_at(number: int) -> dict[str, Tensor]:
        step = student_step(model, batches.batch(number), number)
        taught = distiller(step.taps) if distiller else {}
        return (step.losses if detection_losses else {}) | taught

    return _history(model, optimizer, num_steps, losses_at)


def _history(
    model: Any, optimizer: SGD, num_steps: int, losses_at: Callable[[int], dict[str, Tensor]]
) -> dict[str, list[float]]:
    steps = []
    for number in range(num_steps):
        losses = losses_at(number)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        steps.append({name: float(value.detach()) for name, value in losses.items()})
    return {name: [step[name] for step in steps] for name in steps[0]}
