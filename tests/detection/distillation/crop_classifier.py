"""A small stored classifier for students of `shapes`."""

from pathlib import Path
from typing import Any

import torch

from detection.crop_classifier import CropClassifier, save
from searchd.domain.distillation_methods import MethodName
from searchd.spec import MethodSpec
from searchd.spec.classifier import ClassifierSpec

NAMES = ("circle", "square", "triangle", "cross")


def stored(folder: Path, *, names: tuple[str, ...] = NAMES, **changes: Any) -> str:
    """A random classifier; its folder."""
    torch.manual_seed(3)
    defaults: dict[str, Any] = {"backbone": "resnet18", "base_channels": 8, "input_size": 32}
    classifier = CropClassifier(ClassifierSpec.model_validate(defaults | changes), names)
    for name, value in classifier.heads.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(value)  # so that scores differ
    save(classifier, str(folder), accuracy=None)
    return str(folder)


def dicod(name: MethodName, folder: str, **options: Any) -> MethodSpec:
    """The method with unit weight and small crops."""
    if name is MethodName.DICOD_LOCALISATION:
        options = {"crop_size": 16} | options
    return MethodSpec(name=name, weight=1, options={"classifier": folder} | options)
