"""Loads teachers that mmdet trained, as mmdet's own models.

Any backbone and neck of mmdet can be loaded, and any head whose priors (anchors or points) are on
the neck's levels: two-stage, one-stage and anchor-free. A student is converted into a searchable
detector by `detection.mmdet.checkpoint_import`; a teacher need not be searchable.
"""

from math import ceil
from pathlib import Path
from typing import Any

import torch
from mmdet.models import RPN, BaseDetector, SingleStageDetector, TwoStageDetector

from detection.build import SIZE_DIVISOR
from detection.checkpoint_files import differences, read_weights
from detection.distillation.taps import first_stage, neck_strides
from detection.eval_mode import eval_mode
from detection.head_traits import head_geometry
from detection.mmdet.config import assemble_mmdet
from detection.mmdet.known_families import EXAMPLES
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
"""Errors that mmdet raises for options that do not fit and for parts that are not installed."""


def load_mmdet(detector: MmdetDetector, checkpoint: Path) -> BaseDetector:
    """Load a detector with a checkpoint's weights, on the CPU, in eval mode.

    Args:
        detector: A config that mmdet ships, with the number of classes of the checkpoint.
        checkpoint: A checkpoint of mmengine, a plain state_dict (torch), or safetensors. It is read
            without running any code in it.

    Raises:
        CheckpointError: The checkpoint cannot be read, or its weights do not fit the config; the
            message names those that are missing, left over or of another shape.
        InvalidValueError: There is no such config, it cannot be built, its normalisation cannot be
            converted, or no distillation method can read such a teacher.
    """
    model = build_mmdet(detector).eval()
    check_can_teach(model, detector.config)
    weights = read_weights(checkpoint)
    problem = differences(model.state_dict(), weights)
    if problem:
        raise CheckpointError(
            f"{checkpoint} does not fit config {detector.config} with {detector.num_classes} "
            f"classes, as the data set has: {problem}"
        )
    model.load_state_dict(weights, strict=True)
    return model


def build_mmdet(detector: MmdetDetector) -> BaseDetector:
    """Build a detector on the CPU, in train mode, for weights that are loaded.

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


def check_can_teach(model: Any, config: str) -> None:
    """Check that distillation can read a detector.

    Args:
        model: A detector of mmdet.
        config: Name of its config, for the message.

    Raises:
        InvalidValueError: Its head has no priors on the neck's levels, or a RoI head reads more
            than those levels and the regions. The message names model and head.
    """
    is_two_stage = isinstance(model, TwoStageDetector)
    dense = getattr(model, "rpn_head" if is_two_stage else "bbox_head", None)
    if (
        isinstance(model, SingleStageDetector | TwoStageDetector)
        and not isinstance(model, RPN)  # it predicts no classes
        and hasattr(dense, "prior_generator")
        and (not is_two_stage or _has_one_classifier(model))
    ):
        with eval_mode(model):
            head_geometry(model)
        return
    raise InvalidValueError(
        f"config {config} describes a {type(model).__name__} with the head {type(dense).__name__}; "
        "a teacher has one stage or two, with anchors or points on the levels of its neck, as in "
        f"{', '.join(EXAMPLES.values())}"
    )


@torch.inference_mode()
def feature_levels(model: Any, resolution: Resolution) -> tuple[FeatureLevel, ...]:
    """Return the levels of a detector's neck, finest first, as a forward pass shows them.

    Args:
        model: A one-stage or two-stage detector in eval mode, on any device.
        resolution: Resolution of its images; some detectors cannot read smaller ones.
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


def _has_one_classifier(model: Any) -> bool:
    box_head = first_stage(model.roi_head.bbox_head)
    return hasattr(getattr(box_head, "fc_cls", None), "in_features")
