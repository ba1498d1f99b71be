"""Detectors of mmdet's own, from the configs that are shipped with the installed mmdet.

They take the images of every detector of this project (see `detection.build`): RGB, normalised by
ImageNet's mean and deviation. mmdet's configs normalise in several ways; `Normalisation` is the way
from ours to theirs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from math import isclose
from pathlib import Path
from typing import Any, Self

from mmdet.models import BaseDetector, SSDHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.utils import get_installed_path
from torch import Tensor, nn

from detection.families import PIXEL_MEAN, PIXEL_STD, preprocessor_config
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import InvalidValueError

_LOADED_WHEN_BUILT = frozenset({"teacher_config", "teacher_ckpt"})
"""Fields of mmdet's self-distilled detectors: a Python file that would be run, and a pickle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How the input of an mmdet config is made from this project's: reordered, then scaled.

    Only scaled and never shifted, which keeps the zeros of the padding zeros. So the step is exact,
    also when folded into a convolution that pads.
    """

    order: tuple[int, ...]
    """For each channel of theirs, the channel of ours (0 to 2: R, G, B)."""
    scale: tuple[float, ...]
    """For each channel of theirs, what ours is multiplied by."""

    @classmethod
    def of(cls, preprocessor: Mapping[str, Any], name: str) -> Self:
        """The normalisation of a config's `data_preprocessor`; `name` is the config's.

        Raises:
            InvalidValueError: Its mean is not ImageNet's.
        """
        # mmdet's pipelines read BGR; either flag reverses it.
        is_rgb = preprocessor.get("bgr_to_rgb", False) or preprocessor.get("rgb_to_bgr", False)
        order = (0, 1, 2) if is_rgb else (2, 1, 0)
        mean = tuple(preprocessor.get("mean") or (0.0, 0.0, 0.0))
        std = tuple(preprocessor.get("std") or (1.0, 1.0, 1.0))
        expected = tuple(PIXEL_MEAN[channel] for channel in order)
        if not all(isclose(a, b, abs_tol=1e-6) for a, b in zip(mean, expected, strict=True)):
            raise InvalidValueError(
                f"config {name} subtracts the mean {mean} of {'RGB' if is_rgb else 'BGR'}, where "
                f"this project subtracts {expected}; the difference cannot be made up for at the "
                "padded border: use a config with ImageNet's mean"
            )
        scale = tuple(PIXEL_STD[channel] / s for channel, s in zip(order, std, strict=True))
        return cls(order=order, scale=scale)

    def apply(self, images: Tensor) -> Tensor:
        """Our input as theirs; both N x 3 x H x W."""
        return images[:, list(self.order)] * images.new_tensor(self.scale)[:, None, None]

    def fold(self, weight: Tensor) -> Tensor:
        """The first convolution's weights (C_out x 3 x k x k) for our input instead of theirs."""
        folded = weight.new_empty(weight.shape)
        folded[:, list(self.order)] = weight * weight.new_tensor(self.scale)[:, None, None]
        return folded


def assemble_mmdet(detector: MmdetDetector) -> BaseDetector:
    """Build the detector on the CPU, in train mode, for weights that are loaded: its initial
    weights are not defined.

    Nothing of it is frozen, whatever the config says. Its parameters have mmdet's names and
    meanings: mmdet's checkpoints of the config load. Its input is this project's, and is converted
    before the backbone.

    Raises:
        InvalidValueError: mmdet ships no such config, an option names no value of it, or its
            normalisation cannot be converted.
    """
    config = model_config(detector)
    normalisation = Normalisation.of(config["data_preprocessor"], detector.config)
    model = build_config(_unfrozen(config) | {"data_preprocessor": preprocessor_config()})
    model.backbone.register_forward_pre_hook(_Conversion(normalisation))
    return model


def build_config(model: Mapping[str, Any]) -> BaseDetector:
    """mmdet's detector of a `model` config, without a defined initialisation."""
    built = MODELS.build(ConfigDict(model, _scope_="mmdet"))
    if isinstance(getattr(built, "bbox_head", None), SSDHead):
        # mmdet's prediction asks every head for its loss_cls, and SSD's has none.
        built.bbox_head.loss_cls = None
    return built


def model_config(detector: MmdetDetector) -> dict[str, Any]:
    """The config's `model` as mmdet has it, but with the detector's options and classes, and
    without pretrained weights, which would be downloaded.

    Raises:
        InvalidValueError: mmdet ships no such config, an option names no value of it, or it loads
            another detector.
    """
    path = find_config(detector.config)
    config = Config.fromfile(path)
    if "model" not in config:
        raise InvalidValueError(f"config {detector.config} describes no model")
    model = Config({"model": config.model})
    try:
        model.merge_from_dict({f"model.{key}": value for key, value in detector.options.items()})
    except (KeyError, TypeError) as error:
        raise InvalidValueError(
            f"options {dict(detector.options)} do not fit config {detector.config}: {error}"
        ) from error
    cleaned: dict[str, Any] = _mapped(
        model.model.to_dict(), lambda node: _cleaned(node, detector.num_classes)
    )
    return cleaned


def find_config(name: str) -> Path:
    """The file of a config that is shipped with the installed mmdet.

    Args:
        name: As "retinanet_r50_fpn_1x_coco" or "retinanet/retinanet_r50_fpn_1x_coco.py".

    Raises:
        InvalidValueError: There is none; the message lists the names that come close.
    """
    stem = Path(name.removesuffix(".py")).name
    found = _shipped().get(stem)
    if found is None:
        close = get_close_matches(stem, _shipped(), n=5, cutoff=0.5)
        raise InvalidValueError(
            f"mmdet ships no config {name!r}; close to it: {', '.join(close) or 'none'}"
        )
    return found


@cache
def _shipped() -> dict[str, Path]:
    """Every complete config of the installed mmdet, by its file's stem."""
    folder = Path(get_installed_path("mmdet"), ".mim", "configs")
    files = sorted(path for path in folder.rglob("*.py") if "_base_" not in path.parts)
    return {path.stem: path for path in files}


def _cleaned(node: dict[str, Any], num_classes: int) -> dict[str, Any]:
    loaded = node.keys() & _LOADED_WHEN_BUILT
    if loaded:
        raise InvalidValueError(
            f"the config names {', '.join(sorted(loaded))}: it would load another detector when it "
            "is built, which is not done here; use a config without a teacher of its own"
        )
    node = {key: value for key, value in node.items() if key != "pretrained"}
    init = node.get("init_cfg")
    if isinstance(init, Mapping) and init.get("type") == "Pretrained":
        del node["init_cfg"]
    if "num_classes" in node:
        node["num_classes"] = num_classes
    return node


def _unfrozen(model: dict[str, Any]) -> dict[str, Any]:
    """Every stage and BN trained: random weights that are frozen would never be of use."""
    trained = {"frozen_stages": -1, "norm_eval": False, "requires_grad": True}
    unfrozen: dict[str, Any] = _mapped(
        model, lambda node: node | {key: trained[key] for key in node.keys() & trained.keys()}
    )
    return unfrozen


def _mapped(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """`value` with every dict in it replaced by `change` of it, from the outside in."""
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in change(value).items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    return value


@dataclass(frozen=True)
class _Conversion:
    """A forward pre-hook, and not a closure, so that models can be copied and pickled."""

    normalisation: Normalisation

    def __call__(self, module: nn.Module, args: tuple[Tensor]) -> Tensor:
        del module
        return self.normalisation.apply(args[0])
