"""Finds the mmdet config of a checkpoint: from the config in the file, or from the file's name."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from detection.checkpoint_files import read_checkpoint
from detection.mmdet.config import shipped_configs
from detection.mmdet.config_text import values_of
from detection.mmdet.known_families import EXAMPLES
from searchd.domain.errors import CheckpointError

_NOT_COMPARED = frozenset(
    {"num_classes", "init_cfg", "pretrained", "frozen_stages", "norm_eval", "requires_grad"}
    | {"with_cp", "loss_cls", "loss_bbox", "loss_centerness", "loss_mask", "train_cfg"}
)
"""Fields that do not change what a detector computes from its weights, or that the weights show."""
_MOST_OPTIONS = 40
"""Largest number of differences from a shipped config that are given as options."""
_PUBLISHED = re.compile(r"(_bbox_mAP.*?)?([_-]\d{8}(_\d{6})?)?([_-][0-9a-f]{8})?$")
"""What mmdet appends to a config's name: the AP, the date and time, a part of the SHA-256."""


class Identified(NamedTuple):
    """The config of a checkpoint."""

    config: str
    """Name of a config that mmdet ships."""
    options: dict[str, Any]
    """Values that replace the config's, see `searchd.domain.detector.MmdetDetector`."""


def identify(checkpoint: Path) -> Identified:
    """Return the shipped mmdet config that a checkpoint was trained with, and its options.

    The config that the file contains decides; without one, the name of a published file, or of the
    folder that mmdet's training names after the config. No code in the file is run.

    Raises:
        CheckpointError: The file cannot be read, or its config is not found.
    """
    text = read_checkpoint(checkpoint, shapes_only=True).config_text
    named = next(_named(checkpoint), None)
    found = None if text is None else _from_text(text, named)
    if found is not None:
        return found
    if named is not None:
        return Identified(named, {})
    raise CheckpointError(
        f"the mmdet config of {checkpoint} is not known: the file has no config of a detector that "
        "mmdet ships, and its name is not that of published weights; name the config with --config"
    )


def _named(checkpoint: Path) -> Iterator[str]:
    """Yield the configs that the name of a file or of its folder means."""
    published = _published_weights().get(checkpoint.name)
    if published is not None:
        yield published
    for name in (_PUBLISHED.sub("", checkpoint.stem), checkpoint.resolve().parent.name):
        if _canonical(name) in _canonical_names():
            yield _canonical_names()[_canonical(name)]


@cache
def _published_weights() -> dict[str, str]:
    """Return the config of every file of weights that the installed mmdet lists, by its name."""
    folder = next(iter(shipped_configs().values())).parents[1]
    found: dict[str, str] = {}
    for listed in sorted(folder.glob("*/metafile.yml")):
        config = ""
        for key, value in re.findall(r"^\s*(Config|Weights):\s*(\S+)", listed.read_text(), re.M):
            if key == "Config":
                config = Path(value).stem
            elif config in shipped_configs():
                found[value.rpartition("/")[2]] = config
    return found


@cache
def _canonical_names() -> dict[str, str]:
    return {_canonical(name): name for name in shipped_configs()}


def _canonical(name: str) -> str:
    """Return a config's name without separators, which mmdet 2.x and 3.x set differently."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _from_text(text: str, named: str | None) -> Identified | None:
    """Return the shipped config that is nearest to a text, and the text's differences from it."""
    try:
        values = values_of(text)
    except SyntaxError:
        return None
    model = values.get("model")
    if not isinstance(model, dict) or "type" not in model:
        return None
    model = _plain(model | _preprocessor(values, model))
    work_dir = Path(str(values.get("work_dir", ""))).name
    hinted = (named, _canonical_names().get(_canonical(work_dir)))
    hints = [name for name in (*hinted, *EXAMPLES.values()) if name]
    candidates = [*hints, *sorted(_of_type(model["type"]), key=len)]
    compared = [
        Identified(name, dict(_options(_shipped_model(name), model)))
        for name in dict.fromkeys(candidates)
        if _shipped_model(name).get("type") == model["type"]
    ]
    nearest = min(compared, key=lambda each: len(each.options), default=None)  # the first of equals
    return nearest if nearest is None or len(nearest.options) <= _MOST_OPTIONS else None


def _preprocessor(values: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `data_preprocessor` of a config of mmdet 2.x, which had it in its pipelines."""
    norm = values.get("img_norm_cfg")
    if "data_preprocessor" in model or not isinstance(norm, dict) or "mean" not in norm:
        return {}
    kept = {"mean": norm["mean"], "std": norm.get("std"), "bgr_to_rgb": norm.get("to_rgb", True)}
    return {"data_preprocessor": {"type": "DetDataPreprocessor", **kept}}


def _of_type(type_name: str) -> list[str]:
    """Return the shipped configs in the folder that is named after a detector's type."""
    return [
        name
        for name, path in shipped_configs().items()
        if _canonical(path.parent.name) == _canonical(type_name)
    ]


@cache
def _shipped_model(name: str) -> dict[str, Any]:
    config = Config.fromfile(shipped_configs()[name])
    model: dict[str, Any] = _plain(config.model.to_dict()) if "model" in config else {}
    return model


def _plain(value: Any) -> Any:
    """Return a config with lists for tuples, types without modules, and only compared fields."""
    if isinstance(value, dict):
        return {
            key: item.rpartition(".")[2]
            if key == "type" and isinstance(item, str)
            else _plain(item)
            for key, item in value.items()
            if key not in _NOT_COMPARED
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _options(shipped: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the options that turn a shipped config into the found one, by dotted key."""
    for key, value in found.items():
        other = shipped.get(key)
        if value == other:
            continue
        # Of a preprocessor, which mmdet 2.x did not have, only the normalisation is compared.
        if _merges(other, value) or (key == "data_preprocessor" and isinstance(other, dict)):
            for inner, option in _options(_by_key(other), _by_key(value)):
                yield f"{key}.{inner}", option
        elif isinstance(value, dict):
            yield key, {"_delete_": True, **value}
        else:
            yield key, value


def _merges(shipped: Any, found: Any) -> bool:
    """Return whether the found value is reached by replacing parts of the shipped one."""
    if isinstance(shipped, dict) and isinstance(found, dict):
        return shipped.get("type") == found.get("type") and shipped.keys() <= found.keys()
    if isinstance(shipped, list) and isinstance(found, list) and len(shipped) == len(found):
        return all(isinstance(item, dict) for item in (*shipped, *found))
    return False


def _by_key(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return {str(index): item for index, item in enumerate(value)}
