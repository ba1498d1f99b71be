"""Builds mmdet's own detectors from the configs that the installed mmdet ships.

Their input is that of every detector of this project (see `detection.build`): RGB, normalised by
ImageNet's mean and standard deviation. mmdet's configs normalise in several ways; `Normalisation`
converts our input to theirs.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from math import isclose
from pathlib import Path
from typing import Any, Self

from mmdet.models import BaseDetector, SSDHead
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config, ConfigDict
from mmengine.utils import get_installed_path
from torch import Tensor, nn

from detection.families import PIXEL_MEAN, PIXEL_STD, preprocessor_config
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import InvalidValueError

_LOADED_WHEN_BUILT = frozenset({"teacher_config", "teacher_ckpt"})
"""Fields of mmdet's self-distilled detectors that name a Python file and a pickle to load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """The conversion of this project's input to an mmdet config's: reorder channels, then scale.

    It scales and never shifts, so zeros of the padding stay zeros. The conversion is therefore
    exact, also when it is folded into a convolution that pads.
    """

    order: tuple[int, ...]
    """For each channel of mmdet's input, the channel of ours (0 to 2: R, G, B)."""
    scale: tuple[float, ...]
    """For each channel of mmdet's input, the factor that ours is multiplied by."""

    @classmethod
    def of(cls, preprocessor: Mapping[str, Any], name: str) -> Self:
        """Return the conversion to a config's `data_preprocessor`; `name` is the config's name.

        Raises:
            InvalidValueError: The config's mean is not ImageNet's.
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
                f"this project subtracts {expected}; the difference cannot be corrected at the "
                "padded border: use a config with ImageNet's mean"
            )
        scale = tuple(PIXEL_STD[channel] / s for channel, s in zip(order, std, strict=True))
        return cls(order=order, scale=scale)

    def apply(self, images: Tensor) -> Tensor:
        """Convert our input to mmdet's; both N x 3 x H x W."""
        return images[:, list(self.order)] * images.new_tensor(self.scale)[:, None, None]

    def fold(self, weight: Tensor) -> Tensor:
        """Convert the first convolution's weights (C_out x 3 x k x k) to our input."""
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
        InvalidValueError: mmdet ships no such config, an option does not fit it, or its
            normalisation cannot be converted.
    """
    config = model_config(detector)
    normalisation = Normalisation.of(config["data_preprocessor"], detector.config)
    model = build_config(_unfrozen(config) | {"data_preprocessor": preprocessor_config()})
    model.backbone.register_forward_pre_hook(_Conversion(normalisation))
    return model


def build_config(model: Mapping[str, Any]) -> BaseDetector:
    """Build mmdet's detector of a `model` config without initialising it."""
    built = MODELS.build(ConfigDict(model, _scope_="mmdet"))
    if isinstance(getattr(built, "bbox_head", None), SSDHead):
        # mmdet's prediction reads every head's loss_cls, which SSD's does not have.
        built.bbox_head.loss_cls = None
    return built


def model_config(detector: MmdetDetector) -> dict[str, Any]:
    """Return the config's `model` with the detector's options and number of classes.

    Pretrained weights are left out, since they would be downloaded.

    Raises:
        InvalidValueError: mmdet ships no such config, an option does not fit it, or it loads
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
    """Return the file of a config that the installed mmdet ships.

    Args:
        name: For example "retinanet_r50_fpn_1x_coco" or "retinanet/retinanet_r50_fpn_1x_coco.py".

    Raises:
        InvalidValueError: There is no such config. The message lists similar names.
    """
    stem = Path(name.removesuffix(".py")).name
    found = shipped_configs().get(stem)
    if found is None:
        close = get_close_matches(stem, shipped_configs(), n=5, cutoff=0.5)
        raise InvalidValueError(
            f"mmdet ships no config {name!r}; similar names: {', '.join(close) or 'none'}"
        )
    return found


def class_names_of(name: str, num_classes: int) -> tuple[str, ...] | None:
    """Return the classes of the data set that a config is for, in the order of the labels.

    None if the data set is not one of mmdet's, or has another number of classes.

    Raises:
        InvalidValueError: There is no such config.
    """
    with redirect_stdout(sys.stderr):  # it prints which optional packages are missing
        import_module("mmdet.datasets")  # registers the data sets; takes seconds
    kind = Config.fromfile(find_config(name)).get("dataset_type")
    dataset = DATASETS.module_dict.get(kind)
    names = () if dataset is None else dataset.METAINFO.get("classes", ())
    return tuple(names) if len(names) == num_classes else None


@cache
def shipped_configs() -> dict[str, Path]:
    """Return every complete config of the installed mmdet, by its file's stem."""
    folder = Path(get_installed_path("mmdet"), ".mim", "configs")
    files = sorted(path for path in folder.rglob("*.py") if "_base_" not in path.parts)
    return {path.stem: path for path in files}


def _cleaned(node: dict[str, Any], num_classes: int) -> dict[str, Any]:
    loaded = node.keys() & _LOADED_WHEN_BUILT
    if loaded:
        raise InvalidValueError(
            f"the config names {', '.join(sorted(loaded))}: it would load another detector when it "
            "is built, which is not supported; use a config without its own teacher"
        )
    node = {key: value for key, value in node.items() if key != "pretrained"}
    init = node.get("init_cfg")
    if isinstance(init, Mapping) and init.get("type") == "Pretrained":
        del node["init_cfg"]
    if "num_classes" in node:
        node["num_classes"] = num_classes
    return node


def _unfrozen(model: dict[str, Any]) -> dict[str, Any]:
    """Unfreeze every stage and BN, since frozen random weights would be useless."""
    trained = {"frozen_stages": -1, "norm_eval": False, "requires_grad": True}
    unfrozen: dict[str, Any] = _mapped(
        model, lambda node: node | {key: trained[key] for key in node.keys() & trained.keys()}
    )
    return unfrozen


def _mapped(value: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Replace every dict in `value` by `change(dict)`, from the outside in."""
    if isinstance(value, dict):
        return {key: _mapped(item, change) for key, item in change(value).items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(item, change) for item in value)
    return value


@dataclass(frozen=True)
class _Conversion:
    """A forward pre-hook. It is no closure, so that models can be copied and pickled."""

    normalisation: Normalisation

    def __call__(self, module: nn.Module, args: tuple[Tensor]) -> Tensor:
        del module
        return self.normalisation.apply(args[0])
