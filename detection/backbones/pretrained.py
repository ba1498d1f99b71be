"""Starts a detector from a backbone that was trained on ImageNet.

Weights come from torchvision, from timm, or from a file with the names of either. Their input is
converted to that of this project where this is exact: another standard deviation is folded into the
first convolution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import isclose
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from detection.backbones.weight_names import own_names
from detection.build import assemble
from detection.checkpoint_files import first_few, read_checkpoint
from detection.families import PIXEL_MEAN, PIXEL_STD
from searchd.domain.architecture import Architecture
from searchd.domain.detector import Detector
from searchd.domain.errors import CheckpointError
from searchd.spec import PretrainedSpec

_IMAGENET_MEAN = tuple(mean / 255 for mean in PIXEL_MEAN)
_IMAGENET_STD = tuple(std / 255 for std in PIXEL_STD)
_PREFIX = "backbone."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pretrained:
    """Weights of a classifier, as its library names them."""

    name: str
    """Where they are from, for messages."""
    weights: Mapping[str, Tensor]
    mean: Sequence[float] = _IMAGENET_MEAN
    """Mean of its RGB input, which is in [0, 1]."""
    std: Sequence[float] = _IMAGENET_STD
    """Standard deviation of its RGB input."""


def load_pretrained(spec: PretrainedSpec) -> Pretrained:
    """Load the weights that a spec names.

    Raises:
        CheckpointError: The package is not installed, it knows no such weights or cannot download
            them, or the file cannot be read.
    """
    if spec.torchvision is not None:
        return _from_torchvision(spec.torchvision)
    if spec.timm is not None:
        return _from_timm(spec.timm)
    assert spec.file is not None  # checked by PretrainedSpec
    return Pretrained(name=str(spec.file), weights=read_checkpoint(spec.file).weights)


def start_from(
    weights: dict[str, Tensor], pretrained: Pretrained, architecture: Architecture
) -> tuple[str, ...]:
    """Replace a detector's backbone weights by pretrained ones, in place.

    A wider tensor gets the pretrained one as its leading part; weights by which its first outputs
    would read channels that are not pretrained are set to 0. So the leading channels compute the
    same as the pretrained backbone. Blocks beyond the pretrained ones stay as they are.

    Args:
        weights: State of a whole detector with random weights, on the CPU.
        pretrained: The weights to start from.
        architecture: The detector's backbone.

    Returns:
        Notes on what was copied, in part and not at all.

    Raises:
        CheckpointError: The weights are of another kind of backbone, or their input is normalised
            by another mean.
    """
    found = own_names(_converted(pretrained), architecture)
    expected = {
        name.removeprefix(_PREFIX): value
        for name, value in weights.items()
        if name.startswith(_PREFIX)
    }
    _check_kind(pretrained.name, expected, found, architecture)
    partial = [
        name for name in expected if name in found and not _fill(expected[name], found[name])
    ]
    missing = [name for name in expected if name not in found]
    unused = [name for name in found if name not in expected]
    counts = {
        "copied in part, since this backbone is of another width": partial,
        "of this backbone only, and untrained": missing,
        "of the pretrained backbone only, and not used": unused,
    }
    whole = len(expected) - len(partial) - len(missing)
    return (
        f"{whole} of {len(expected)} tensors of the backbone are those of {pretrained.name}",
        *(
            f"{len(names)} tensors are {what}: {first_few(names)}"
            for what, names in counts.items()
            if names
        ),
    )


def check_form(spec: PretrainedSpec, architecture: Architecture) -> None:
    """Check, from the shapes in a file alone, that it has a backbone of the right kind.

    Weights of torchvision and timm are not checked, since they would have to be downloaded.

    Raises:
        CheckpointError: The file cannot be read, or is of another kind of backbone.
    """
    if spec.file is None:
        return
    found = read_checkpoint(spec.file, shapes_only=True).weights
    with torch.device("meta"):
        model: Any = assemble(Detector(architecture=architecture))
    expected = model.backbone.state_dict()
    _check_kind(str(spec.file), expected, own_names(found, architecture), architecture)


def _converted(pretrained: Pretrained) -> dict[str, Tensor]:
    """Return the weights for this project's input."""
    if not all(
        isclose(a, b, abs_tol=2e-3) for a, b in zip(pretrained.mean, _IMAGENET_MEAN, strict=True)
    ):
        raise CheckpointError(
            f"{pretrained.name} subtracts the mean {tuple(pretrained.mean)}, where this project "
            f"subtracts ImageNet's {tuple(round(mean, 3) for mean in _IMAGENET_MEAN)}; the "
            "difference cannot be corrected at the padded border: use weights with ImageNet's mean"
        )
    scale = [own / other for own, other in zip(_IMAGENET_STD, pretrained.std, strict=True)]
    return {
        name: _rescaled(weight, scale) if _reads_image(name, weight) else weight
        for name, weight in pretrained.weights.items()
    }


def _reads_image(name: str, weight: Tensor) -> bool:
    return name.endswith(".weight") and weight.ndim == 4 and weight.shape[1] == 3


def _rescaled(weight: Tensor, scale: Sequence[float]) -> Tensor:
    return weight * weight.new_tensor(scale)[:, None, None]


def _check_kind(
    name: str,
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    architecture: Architecture,
) -> None:
    """Check that weights are of the same kind of backbone, whatever its depths and widths are."""
    first = [key for key in expected if key.startswith(("conv1.", "layer1.0.conv"))]
    modules = {_module(key) for key in expected}
    absent = [key for key in first if key not in found]
    odd = [key for key in found if key.startswith("layer1.0.") and _module(key) not in modules]
    reason = ""
    if absent:
        reason = f"they have no {first_few(absent)}"
    elif odd:
        reason = f"they have {first_few(odd)} too"
    else:
        forms = (_other_form(key, expected[key], found[key], architecture) for key in first)
        reason = next(filter(None, forms), "")
    if reason:
        raise CheckpointError(
            f"{name} does not fit a backbone of {architecture.kind} blocks: {reason}; weights of "
            "ResNet, ResNeXt and MobileNetV2 in torchvision's form can be used"
        )


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _other_form(name: str, expected: Tensor, found: Tensor, architecture: Architecture) -> str:
    """Return how two convolutions differ, other than in widths: in kernel or groups."""
    is_grouped = architecture.stages[0][0].groups > 1
    same_kernel = expected.ndim == found.ndim and expected.shape[2:] == found.shape[2:]
    if same_kernel and (not is_grouped or expected.shape[1] == found.shape[1]):
        return ""
    return f"{name} has the shape {tuple(found.shape)} instead of {tuple(expected.shape)}"


def _fill(target: Tensor, source: Tensor) -> bool:
    """Copy the leading part of a tensor, and return whether it was copied whole."""
    if target.shape == source.shape:
        target.copy_(source)
        return True
    common = [min(a, b) for a, b in zip(target.shape, source.shape, strict=True)]
    part = tuple(slice(size) for size in common)
    if target.ndim > 1 and target.shape[1] > source.shape[1]:
        target[: common[0], common[1] :] = 0
    target[part] = source[part].to(target.dtype)
    return False


def _from_torchvision(name: str) -> Pretrained:
    models = _package("torchvision", "torchvision.models")
    try:
        entry: Any = models.get_weight(name)
        transforms = entry.transforms()
        weights = entry.get_state_dict(progress=False)
    except (ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"torchvision has no weights {name!r} (for example ResNet50_Weights.IMAGENET1K_V2): "
            f"{error}"
        ) from error
    except (OSError, RuntimeError) as error:
        raise _not_downloaded("torchvision", name, error) from error
    return Pretrained(
        name=f"torchvision's {name}", weights=weights, mean=transforms.mean, std=transforms.std
    )


def _from_timm(name: str) -> Pretrained:
    if name.startswith("tf_"):
        raise CheckpointError(
            f"timm's {name} pads as TensorFlow does, which no backbone here can reproduce; use a "
            "model without the prefix tf_"
        )
    timm = _package("timm", "timm")
    try:
        model = timm.create_model(name, pretrained=True)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise _not_downloaded("timm", name, error) from error
    config = model.pretrained_cfg
    return Pretrained(
        name=f"timm's {name}", weights=model.state_dict(), mean=config["mean"], std=config["std"]
    )


def _package(package: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise CheckpointError(
            f"pretrained.{package} needs the package {package}, which cannot be imported here "
            f"({error}); install it on the workers, or give downloaded weights as pretrained.file"
        ) from error


def _not_downloaded(package: str, name: str, error: Exception) -> CheckpointError:
    lines = str(error).splitlines() or [type(error).__name__]
    return CheckpointError(
        f"{package} cannot load the weights {name!r} ({lines[0][:200]}); check the name and this "
        "machine's connection, or download the weights and give pretrained.file"
    )
