"""Every method of the catalogue, with a pair of tiny detectors that it fits."""

from typing import Any

import torch

from detection.distillation.taps import StudentTaps
from searchd.domain.detector import Family
from searchd.domain.distillation_methods import MethodName
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny
from tests.detection.distillation.crop_classifier import dicod
from tests.detection.distillation.teaching import student_of

WITHOUT_LOSS = frozenset({MethodName.INHERITING, MethodName.HEAD_TRANSFER})
RANDOM = frozenset({MethodName.MGD, MethodName.ICD})
"""Draw anew whenever they are asked for their loss."""
CELL_BY_CELL = frozenset({MethodName.LD, MethodName.CROSSKD, MethodName.BCKD})
"""Need a teacher that sees the student's images."""


def method_of(name: MethodName, classifier: str) -> MethodSpec:
    """A method with options for tiny tests.

    Args:
        name: Which.
        classifier: Folder of a stored one.
    """
    if name in (MethodName.DICOD_CLASSIFICATION, MethodName.DICOD_LOCALISATION):
        return dicod(name, classifier)
    small: dict[MethodName, dict[str, Any]] = {
        MethodName.CKD: {"queue_size": 64},
        MethodName.ICD: {"warmup_iterations": 0},
    }
    return MethodSpec(name=name, options=small.get(name, {}))


def student_for(name: MethodName) -> Any:
    """Of the family that it teaches, with a neck of 16 channels."""
    families = {MethodName.PREDICTION_CONVERSION: Family.RETINANET} | dict.fromkeys(
        CELL_BY_CELL, Family.GFL
    )
    return student_of(families.get(name, Family.FASTER_RCNN))


def teaching_family(name: MethodName) -> Family:
    """A family whose detectors teach by it."""
    return Family.GFL if name in CELL_BY_CELL else Family.FASTER_RCNN


def teacher_for(seed: int, neck_channels: int = 16, family: Family = Family.FASTER_RCNN) -> Any:
    """A random detector with the student's head."""
    torch.manual_seed(seed)
    return tiny("resnet18", neck_channels, family)


def neck_gradients(loss: torch.Tensor, student: StudentTaps) -> list[torch.Tensor]:
    """Of a loss by every level of a student's neck; zeros where it has none."""
    return list(
        torch.autograd.grad(
            loss, list(student.neck.values()), retain_graph=True, materialize_grads=True
        )
    )
