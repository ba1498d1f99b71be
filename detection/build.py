"""Builds an mmdet detector from a `Detector` value, with or without weights.

Input of the model: `model(inputs, data_samples, mode="loss" | "predict" | "tensor")` takes
images that are already normalised and padded: float, N x 3 x H x W, RGB, H and W multiples of 32,
and mmdet `DetDataSample`s whose boxes are xyxy in pixels of that input and whose metainfo holds
`img_shape` (H, W before padding), `batch_input_shape`, `pad_shape`, `scale_factor` and `ori_shape`.
`model.data_preprocessor({"inputs": [...], "data_samples": [...]}, training)` makes them from a list
of raw RGB images (3 x H x W, uint8 or float in 0-255): it normalises by `PIXEL_MEAN` and
`PIXEL_STD`, pads to the right and bottom with zeros, sets the two padded shapes, and moves
everything to the model's device. mmdet's own pipelines read BGR: an exported config sets
`data_preprocessor.bgr_to_rgb`.
"""

from dataclasses import dataclass, replace

from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from torch import Tensor

from detection.families import PIXEL_MEAN, PIXEL_STD, SIZE_DIVISOR, detector_config
from detection.families.tood_epochs import tell_trained
from searchd.domain.detector import Detector, Family

__all__ = [
    "PIXEL_MEAN",
    "PIXEL_STD",
    "SIZE_DIVISOR",
    "Student",
    "assemble",
    "build_detector",
    "detector_config",
    "load_student",
    "predicts_masks",
    "with_family",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Student:
    """A detector with its weights."""

    detector: Detector
    weights: dict[str, Tensor]
    """The state_dict of the whole detector, on the CPU."""


def build_detector(detector: Detector) -> BaseDetector:
    """Build the mmdet detector with random weights, on the CPU, in train mode.

    Every call draws new weights from torch's global generator.
    """
    model = assemble(detector)
    # mmengine lists the mean of every initialised parameter at level INFO.
    MMLogger.get_current_instance().setLevel("WARNING")
    model.init_weights()
    return model


def load_student(student: Student) -> BaseDetector:
    """Build the student's detector with its weights, on the CPU, in train mode.

    Raises:
        RuntimeError: A key or shape of the weights differs from the detector's.
    """
    model = assemble(student.detector)
    model.load_state_dict(student.weights, strict=True)
    return model


def predicts_masks(model: BaseDetector) -> bool:
    """Return whether a detector of mmdet has a mask head, which is trained on masks."""
    return getattr(getattr(model, "roi_head", None), "with_mask", False)


def with_family(student: Student, family: Family) -> Student:
    """Put the student's backbone into a detector of another family, for example with a cascade head
    (Joint-DetNAS, Table 6).

    The backbone keeps its weights, and so does the neck between two-stage families, whose necks are
    the same; RPN and box heads between a family and that with masks. All other weights are drawn
    from torch's global generator.
    """
    detector = replace(student.detector, family=family)
    kept = ["backbone."]
    if family.two_stage and student.detector.family.two_stage:
        kept.append("neck.")
        if family.is_cascade == student.detector.family.is_cascade:
            kept += ["rpn_head.", "roi_head.bbox_head."]
    weights = build_detector(detector).state_dict()
    carried = {
        name: value for name, value in student.weights.items() if name.startswith(tuple(kept))
    }
    return Student(detector=detector, weights=weights | carried)


def assemble(detector: Detector) -> BaseDetector:
    """Build the mmdet detector without initialising it: weights are torch's defaults. Losses of a
    TOOD are those of a trained one, until a training tells it the epoch."""
    tell_trained()
    # The scope lets mmengine's registry find mmdet's preprocessor, whatever the process's default.
    return MODELS.build(ConfigDict(detector_config(detector), _scope_="mmdet"))
