"""Computes one training step of a student: mmdet's own losses, and the taps for distillation."""

from typing import Any

from mmdet.models import TwoStageDetector

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
    return StudentStep(
        losses={name: total(value) for name, value in losses.items() if "loss" in name},
        taps=taps,
    )
