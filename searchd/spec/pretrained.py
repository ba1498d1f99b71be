"""A backbone that was trained on ImageNet, for bases and pools."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from searchd.spec.base import Spec


class PretrainedSpec(Spec):
    """A backbone that was trained on ImageNet. Give exactly one of `torchvision`, `timm` and
    `file`."""

    torchvision: str | None = None
    """Name of weights of torchvision, for example "ResNet50_Weights.IMAGENET1K_V2". torchvision
    must be installed on the workers, which download the weights."""
    timm: str | None = None
    """Name of a model of timm, for example "resnet50.a1_in1k". timm must be installed on the
    workers, which download the weights."""
    file: Path | None = None
    """Absolute path of downloaded weights, on a disk that every worker can read: safetensors, or a
    state_dict of torch, with the names of torchvision, timm or mmpretrain. Images were normalised
    by the mean and standard deviation of ImageNet."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.torchvision, self.timm, self.file].count(None) != 2:
            raise ValueError("give exactly one of torchvision, timm and file")
        if self.file is not None and not self.file.is_absolute():
            raise ValueError(f"file={str(self.file)!r} must be an absolute path")
        return self
