"""Detectors that mmdet trained as teachers: as mmdet has them, and not as this project's.

Any backbone and neck of mmdet's, and any head that lays its priors (anchors or points) out on the
neck's levels: two-stage, one-stage and anchor-free. A student is mapped into a searchable
detector by `detection.mmdet.checkpoint_import`; a teacher need not be searchable.
"""

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import torch
from mmdet.models import RPN, BaseDetector, SingleStageDetector, TwoStageDetector
from torch import Tensor

from detection.build import SIZE_DIVISOR
from detection.distillation.taps import first_stage, neck_strides
from detection.mmdet.checkpoint_import import EXAMPLES, read_weights
from detection.mmdet.config import assemble_mmdet
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.messages.reports import FeatureLevel

_NOT_BUILT = (
    AttributeError,
    ImportError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What mmdet raises for options that do not fit, and for parts that are not installed."""
_MOST_SHOWN = 5
"""Names of weights in a message."""


def load_mmdet(detector: MmdetDetector, checkpoint: Path) -> BaseDetector:
    """The detector with a checkpoint's weights, on the CPU, in eval mode.

    Args:
        detector: A shipped config, with the classes that the checkpoint must have.
        checkpoint: mmengine's or a plain state_dict (torch), or safetensors. It is read without
            running any code in it.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its weights are not the config's; the
            message names those that are missing, left over or of another shape.
        InvalidValueError: There is no such config, it cannot be built, its normalisation cannot be
            converted, or no method could read a teacher of this kind.
    """
    model = _assembled(detector).eval()
    check_can_teach(model, detector.config)
    weights = read_weights(checkpoint)
    problem = _differences(model.state_dict(), weights)
    if problem:
        raise CheckpointError(
            f"{checkpoint} does not fit config {detector.config} with {detector.num_classes} "
            f"classes, as the data set has: {problem}"
        )
    model.load_state_dict(weights, strict=True)
    return model


def check_can_teach(model: Any, config: str) -> None:
    """See that distillation can read the detector.

    Raises:
        InvalidValueError: Its head has no priors on the neck's levels; names model and head.
    """
    is_two_stage = isinstance(model, TwoStageDetector)
    dense = getattr(model, "rpn_head" if is_two_stage else "bbox_head", None)
    if (
        isinstance(model, SingleStageDetector | TwoStageDetector)
        and not isinstance(model, RPN)  # it finds objects, of no class
        and hasattr(dense, "prior_generator")
        and (not is_two_stage or _has_one_classifier(model))
    ):
        return
    raise InvalidValueError(
        f"config {config} describes a {type(model).__name__} with the head {type(dense).__name__}; "
        "a teacher has one stage or two, with anchors or points on the levels of its neck, as in "
        f"{', '.join(EXAMPLES.values())}"
    )


@torch.inference_mode()
def feature_levels(model: Any, resolution: Resolution) -> tuple[FeatureLevel, ...]:
    """The levels of a detector's neck, finest first: found by a forward pass.

    Args:
        model: One stage or two, in eval mode, on any device.
        resolution: At which it is used; some detectors cannot read a smaller image.
    """
    device = next(model.parameters()).device
    sides = (
        SIZE_DIVISOR * ceil(side / SIZE_DIVISOR) for side in (resolution.height, resolution.width)
    )
    features = model.extract_feat(torch.zeros(1, 3, *sides, device=device))
    return tuple(
        FeatureLevel(stride=stride, channels=level.shape[1])
        for stride, level in zip(neck_strides(model), features, strict=True)
    )


def _assembled(detector: MmdetDetector) -> BaseDetector:
    """The detector with random weights.

    Raises:
        InvalidValueError: mmdet ships no such config, or cannot build it with these options here.
    """
    try:
        return assemble_mmdet(detector)
    except InvalidValueError:
        raise
    except _NOT_BUILT as error:
        raise InvalidValueError(
            f"config {detector.config} with options {dict(detector.options)} cannot be built by "
            f"the installed mmdet: {type(error).__name__}: {error}"
        ) from error


def _has_one_classifier(model: Any) -> bool:
    box_head = first_stage(model.roi_head.bbox_head)
    return hasattr(getattr(box_head, "fc_cls", None), "in_features")


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """In words, which weights differ; empty if none does."""
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    named = {
        "it has no": [name for name in expected if name not in found],
        "it has besides": [name for name in found if name not in expected],
        "of another shape": shapes,
    }
    return "; ".join(f"{what}: {_shown(names)}" for what, names in named.items() if names)


def _shown(names: list[str]) -> str:
    rest = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
