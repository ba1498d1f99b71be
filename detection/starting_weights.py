"""Starts the training of a teacher: a detector of mmdet with the weights of a checkpoint, which may
know other classes, or with random weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmdet.models import BaseDetector
from mmengine.logging import MMLogger
from torch import Tensor

from detection.build import predicts_masks
from detection.checkpoint_files import CheckpointFile, first_few, read_checkpoint
from detection.class_transfer import are_same, transfer_rows
from detection.teacher_loading import build_mmdet, check_can_teach
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError, InvalidValueError

_MASK_HEAD = "roi_head.mask_head"
_SHARED = ("backbone.", "neck.")
"""Beginnings of the names of weights that do not depend on the classes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A detector that is about to be trained."""

    detector: MmdetDetector
    """What is built: the given detector, without a mask head."""
    model: BaseDetector
    """The detector on the CPU, in train mode."""
    notes: tuple[str, ...]
    """What was loaded and what was left out, as text."""


def start_mmdet(
    detector: MmdetDetector, checkpoint: Path | None, class_names: Sequence[str]
) -> Start:
    """Build a detector for training. Weights that are not loaded are drawn from torch's global
    generator.

    Args:
        detector: A config that mmdet ships, with the number of classes of the data set.
        checkpoint: Weights to start from, see `load_mmdet`; None to start from random weights.
            Layers that depend on the classes keep the rows of the data set's classes, by name, if
            the checkpoint names its classes.
        class_names: Names of the data set's classes, in the order of the labels.

    Raises:
        CheckpointError: The checkpoint cannot be read, or does not fit the config apart from its
            classes.
        InvalidValueError: There is no such config, it cannot be built, boxes cannot train it, or no
            distillation method can read such a teacher.
    """
    model: Any = build_mmdet(detector)
    notes: list[str] = []
    if predicts_masks(model):
        options = {**detector.options, _MASK_HEAD: None}
        detector = replace(detector, options=options)
        model = build_mmdet(detector)
        notes.append(f"the mask head of config {detector.config} is left out: boxes train no masks")
    check_can_teach(model, detector.config)
    _check_boxes_train(model, detector.config)
    # mmengine lists the mean of every initialised parameter at level INFO.
    MMLogger.get_current_instance().setLevel("WARNING")
    model.init_weights()
    if checkpoint is not None:
        file = read_checkpoint(checkpoint)
        try:
            notes += _load(model, file, checkpoint, class_names)
        except CheckpointError as error:
            raise CheckpointError(
                f"{checkpoint} does not fit config {detector.config}: {error}"
            ) from error
    return Start(detector=detector, model=model, notes=tuple(notes))


def load_matching(model: BaseDetector, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Load the weights whose name and shape are those of the model; the model's others stay.

    Args:
        model: The detector to load into.
        weights: Of a detector that differs at most in its classes.

    Returns:
        What was dropped, since its shape differs: "NAME (shape) instead of (the model's shape)".

    Raises:
        CheckpointError: Names are missing or left over, or weights outside the heads have another
            shape. Nothing was loaded.
    """
    own = model.state_dict()
    other_shape = [
        name for name in own if name in weights and weights[name].shape != own[name].shape
    ]
    problems = {
        "missing": [name for name in own if name not in weights],
        "left over": [name for name in weights if name not in own],
        "of another shape": [name for name in other_shape if name.startswith(_SHARED)],
    }
    found = [f"{what}: {first_few(names)}" for what, names in problems.items() if names]
    if found:
        raise CheckpointError("; ".join(found))
    kept = {name: value for name, value in weights.items() if name not in other_shape}
    model.load_state_dict(kept, strict=False)
    return tuple(
        f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
        for name in other_shape
    )


def _without_mask_head(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in weights.items() if not name.startswith(f"{_MASK_HEAD}.")}


def _check_boxes_train(model: Any, config: str) -> None:
    """Check that boxes are enough to train a detector.

    Raises:
        InvalidValueError: It is trained on segmentations too.
    """
    if getattr(getattr(model, "roi_head", None), "semantic_head", None) is not None:
        raise InvalidValueError(
            f"config {config} has a semantic segmentation head, which boxes cannot train; use a "
            "config of a detector of boxes"
        )


def _load(
    model: Any, file: CheckpointFile, checkpoint: Path, class_names: Sequence[str]
) -> list[str]:
    """Load a checkpoint that may know other classes, and return what was done, in sentences."""
    weights, rows = _without_mask_head(file.weights), dict[str, str]()
    if file.class_names is not None and not are_same(file.class_names, class_names):
        own, known = model.state_dict(), file.class_names  # the model's own tensors
        rows = transfer_rows(weights, own, known, class_names, num_known=len(known))
        weights |= {name: own[name] for name in rows}
    dropped = load_matching(model, weights)
    whole = len(weights) - len(dropped) - len(rows)
    notes = [f"loaded {whole} of {len(weights)} weights of {checkpoint}", *rows.values()]
    if dropped:
        notes.append(f"these start anew, since they depend on the classes: {', '.join(dropped)}")
    return notes
