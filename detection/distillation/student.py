"""Computes one training step of a student: mmdet's own losses, and the taps for distillation."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmdet.models import TwoStageDetector
from torch import Tensor

from detection.data.batches import Batch
from detection.distillation.one_stage import one_stage_step
from detection.distillation.taps import StudentStep, total
from detection.distillation.two_stage import two_stage_step


def student_step(model: Any, batch: Batch, step: int = 0) -> StudentStep:
    """Run `model.loss` and record intermediate results.

    The losses are bitwise those of mmdet. Samplers draw from torch's global generator; taps that
    draw too do so after the losses.

    Args:
        model: Any mmdet two-stage detector with a box head, or one-stage detector with a dense
            head; in train mode.
        batch: A batch with boxes and labels, on the model's device.
        step: Global step of the training, from 0.
    """
    two_stage = isinstance(model, TwoStageDetector)
    losses, taps = (two_stage_step if two_stage else one_stage_step)(model, batch, step)
    return StudentStep(losses=_scalars(losses), taps=taps)


def plain_losses(model: Any, batch: Batch) -> dict[str, Tensor]:
    """Return mmdet's own losses as scalars, by mmdet's names, without taps.

    Args:
        model: Any mmdet detector that is trained on boxes, in train mode.
        batch: A batch with boxes and labels, on the model's device.
    """
    return _scalars(model.loss(batch.inputs, batch.samples))


def _scalars(losses: Mapping[str, Tensor | Sequence[Tensor]]) -> dict[str, Tensor]:
    """Return the losses without the accuracies that mmdet returns beside them."""
    return {name: total(value) for name, value in losses.items() if "loss" in name}
