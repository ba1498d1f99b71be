"""Resumes from the checkpoint of an earlier attempt, which may have had other training settings."""

from typing import Any

import torch

from detection.build import Student
from detection.training import Training
from searchd.spec import TrainingSpec
from searchd.spec.codecs import DETECTOR


def can_resume(resume: dict[str, Any], spec: TrainingSpec) -> bool:
    """Return whether a training by `spec` can resume from a checkpoint.

    A checkpoint of other settings (a larger batch, a higher learning rate) can be used only from
    the end of an epoch: inside an epoch its position counts batches, and its weights may be about
    to diverge. It cannot be used if a method has its own optimizer, whose schedule counts batches
    too.
    """
    # Parsed, since a version with fewer settings may have written it.
    if TrainingSpec.model_validate_json(resume["trained_by"]).model_dump() == spec.model_dump():
        return True
    training = resume["training"]
    is_at_epochs_end = bool(training["epochs"]) and not training["loss_sums"]
    return is_at_epochs_end and not training["own_optimizers"] and _is_finite(training["model"])


def _is_finite(weights: dict[str, torch.Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in weights.values())


def rescaled_state(resume: dict[str, Any], training: Training) -> dict[str, Any]:
    """Return the checkpoint's training state, its position counted in batches of `training`."""
    state: dict[str, Any] = resume["training"]
    if not state["loss_sums"]:
        state = {**state, "step": len(state["epochs"]) * training.num_iterations}
    return state


def found_batch_size(resume: dict[str, Any] | None, spec: TrainingSpec) -> int | None:
    """Return the batch size that the checkpoint's attempt found by memory, None if it is to be
    found, or if the settings name it."""
    if resume is None or spec.batch_size != "auto":
        return None
    return int(resume["training"]["batch_size"])


def resumed_student(resume: dict[str, Any]) -> Student:
    """Return the checkpoint's student."""
    return Student(
        detector=DETECTOR.validate_json(resume["detector"]), weights=resume["training"]["model"]
    )
