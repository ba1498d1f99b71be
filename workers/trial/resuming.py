"""Going on from the checkpoint of an earlier attempt, which may have trained otherwise."""

from typing import Any

import torch

from detection.build import Student
from detection.training import Training
from searchd.spec import DETECTOR, TrainingSpec


def fits(resume: dict[str, Any], spec: TrainingSpec) -> bool:
    """Whether a training as `spec` has it may go on from a checkpoint. If it was trained otherwise
    (a larger batch, a higher learning rate), only from an epoch's end: inside an epoch its position
    counts batches, and its weights may be about to diverge. Not then either if a method has an
    optimizer of its own, whose schedule counts batches too."""
    if resume["trained_by"] == spec.model_dump_json():
        return True
    training = resume["training"]
    is_at_epochs_end = bool(training["epochs"]) and not training["loss_sums"]
    return is_at_epochs_end and not training["own_optimizers"] and _is_finite(training["model"])


def _is_finite(weights: dict[str, torch.Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in weights.values())


def at_our_pace(resume: dict[str, Any], training: Training) -> dict[str, Any]:
    """The checkpoint's training, with its position in batches of this one's size."""
    state: dict[str, Any] = resume["training"]
    if not state["loss_sums"]:
        state = {**state, "step": len(state["epochs"]) * training.num_iterations}
    return state


def resumed_student(resume: dict[str, Any]) -> Student:
    """The checkpoint's student."""
    return Student(
        detector=DETECTOR.validate_json(resume["detector"]), weights=resume["training"]["model"]
    )
