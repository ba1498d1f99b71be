"""Reads checkpoints as people have them: of mmengine, mmdet 2.x, timm, torchvision, Lightning, or
plain `torch.save`, as zip, as older pickle, or as safetensors.

No code in a file is run: classes that are not torch's own are replaced by `_Skipped`. What was
chosen and what was left out of a file is reported in `CheckpointFile.notes`.
"""

import pickle
import pickletools
import struct
import warnings
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from detection.file_kinds import FileFormat, file_format, unreadable

_DAMAGED = (
    *(OSError, EOFError, pickle.UnpicklingError, SafetensorError, struct.error, RuntimeError),
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, OverflowError),
    *(MemoryError, NotImplementedError),
)
"""Errors that torch and safetensors raise for damaged files, which they hardly check."""
_MOST_SHOWN = 3
"""Largest number of weights that a message names."""
_EMA = ("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model", "ema")
"""Keys of averaged weights: of timm, torchvision's references, others."""
_PLAIN = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
)
"""Keys of weights in the checkpoints of common training loops."""
_WRAPPERS = ("module.", "_orig_mod.", "model.", "ema_model.", "detector.")
"""Prefixes of names: DataParallel, torch.compile, Lightning and similar wrappers."""
_OLD_PREDICTORS = {
    "fcos_cls": "conv_cls",
    "fcos_reg": "conv_reg",
    "fcos_centerness": "conv_centerness",
}
"""Names of FCOS's predictors before mmdet 2.3, and since."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckpointFile:
    """The content of a checkpoint."""

    weights: dict[str, Tensor]
    """The model's weights by mmdet 3.x's names, on the CPU; on the meta device if only shapes were
    read."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes in the order of the labels; None if the file does not name them."""
    config_text: str | None = None
    """The config that the model was trained with, as Python text; None if the file has none."""
    notes: tuple[str, ...] = ()
    """Sentences on what was chosen among several weights and what was left out."""


def read_checkpoint(path: Path, *, shapes_only: bool = False) -> CheckpointFile:
    """Read a checkpoint without running any code in it.

    Args:
        path: The file. Its format is found by its content.
        shapes_only: Whether to read names and shapes only. Of safetensors and zip files, no weight
            is read from the disk then.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or has no weights. The
            message says which, in one sentence.
    """
    kind = file_format(path)
    try:
        if kind is FileFormat.SAFETENSORS:
            stored: Any = _shapes(path) if shapes_only else load_file(path)
        else:
            stored = _load(path, kind, mmap=shapes_only and kind is FileFormat.ZIP)
    except _DAMAGED as error:
        raise unreadable(path, _damage(error)) from error
    return _checkpoint(path, stored, shapes_only)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint's weights by mmdet's names; see `read_checkpoint`.

    Raises:
        CheckpointError: The file is missing, damaged, of another kind, or has no weights.
    """
    return read_checkpoint(path).weights


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Return a text that names the weights that differ, at most three of a kind; empty if none."""
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    named = {
        "missing": [name for name in expected if name not in found],
        "left over": [name for name in found if name not in expected],
        "of another shape": shapes,
    }
    return "; ".join(
        f"{len(names)} {what}: {first_few(names)}" for what, names in named.items() if names
    )


def first_few(names: Sequence[str]) -> str:
    """Return the first three names, and the number of the others."""
    rest = len(names) - _MOST_SHOWN
    return ", ".join(names[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


class _Skipped:
    """Stands in for the objects in a checkpoint that are neither tensors nor plain values."""

    stored_name = ""
    """Module and name of the class in the file."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _load(path: Path, kind: FileFormat, *, mmap: bool) -> Any:
    names = _classes_in(path, kind)
    _refuse_ultralytics(path, names)
    try:
        with safe_globals([(_stand_in(name), name) for name in names]):
            if mmap and path.suffix != ".safetensors":  # torch would go by the name
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        modules = [name for name in names if name.startswith("torch.nn.modules.")]
        if modules:
            raise unreadable(path, _whole_model(modules[0])) from error
        raise


def _classes_in(path: Path, kind: FileFormat) -> list[str]:
    """Return the classes that a file names, at least those that torch does not allow."""
    if kind is FileFormat.ZIP:
        return get_unsafe_globals_in_checkpoint(path)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escape sequences in damaged files
        return sorted(set(_globals(file)))


def _globals(file: Any) -> Iterator[str]:
    """Yield the classes that a file of torch's older format names: four pickles come first."""
    for _ in range(4):
        for opcode, argument, _position in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                module, name = NAME_MAPPING.get((module, name), (module, name))
                yield f"{IMPORT_MAPPING.get(module, module)}.{name}"


def _stand_in(name: str) -> Any:
    """Return what is built instead of a class: a dict for subclasses of dict, which torch fills
    item by item, or else a `_Skipped`."""
    short = name.rpartition(".")[2]
    if short == "defaultdict":
        return _empty_dict
    if short.endswith("Dict"):
        return OrderedDict
    return type(short, (_Skipped,), {"stored_name": name})


def _empty_dict(*args: object) -> dict[object, object]:
    del args
    return {}


def _refuse_ultralytics(path: Path, names: Sequence[str]) -> None:
    if any(name.startswith(("ultralytics.", "models.yolo.", "models.common.")) for name in names):
        raise unreadable(
            path,
            "it is an Ultralytics checkpoint, which holds the model as Python objects of the "
            "package ultralytics; YOLO models are no detectors of mmdet's families and cannot be "
            "used here",
        )


def _shapes(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {
            name: torch.empty(file.get_slice(name).get_shape(), device="meta")
            for name in file.keys()  # noqa: SIM118 # not a dict: it cannot be iterated
        }


def _damage(error: BaseException) -> str:
    """Return the reason of a failed read. torch's own text recommends to run the file's code."""
    if isinstance(error, pickle.UnpicklingError):
        return (
            "it is damaged, was not written by torch.save, or holds Python objects that only its "
            "own program can build; store the model's state_dict with torch.save or safetensors"
        )
    lines = str(error).splitlines() or [type(error).__name__]
    return f"it is damaged or incomplete ({lines[0][:200]}); copy or download it again"


def _checkpoint(path: Path, stored: Any, shapes_only: bool) -> CheckpointFile:
    if isinstance(stored, _Skipped):
        raise unreadable(path, _whole_model(stored.stored_name))
    meta = _meta(stored)
    _refuse_mmdet1(path, meta)
    key, found = _weights_in(stored, _is_mmengines(stored))
    if found is None:
        raise unreadable(path, _no_weights(stored))
    notes = (
        [f"weights are those of {key!r} in {path.name}"] if set(key.split(".")) & set(_EMA) else []
    )
    if "ema_state_dict" in stored and not notes:
        notes.append(f"{path.name} holds the EMA of the weights as its state_dict, which is used")
    weights = _renamed(path, found, notes)
    if shapes_only:
        weights = {name: weight.to("meta") for name, weight in weights.items()}
    return CheckpointFile(
        weights=weights,
        class_names=_class_names(meta),
        config_text=next(
            (meta[k] for k in ("cfg", "config") if isinstance(meta.get(k), str)), None
        ),
        notes=tuple(notes),
    )


def _meta(stored: Any) -> Mapping[str, Any]:
    found = stored.get("meta") if isinstance(stored, dict) else None
    return found if isinstance(found, dict) else {}


def _refuse_mmdet1(path: Path, meta: Mapping[str, Any]) -> None:
    if str(meta.get("mmdet_version", "")).startswith(("0.", "1.")):
        raise unreadable(
            path,
            f"it is of mmdet {meta['mmdet_version']}, which counted the background as class 0; "
            "convert it with mmdet's tools/model_converters/upgrade_model_version.py",
        )


def _is_mmengines(stored: Any) -> bool:
    """Return whether mmengine wrote a checkpoint. Its EMA hook swaps the two: `state_dict` holds
    the averaged weights, and `ema_state_dict` those of the optimizer."""
    if not isinstance(stored, dict):
        return False
    return "message_hub" in stored or "mmengine_version" in _meta(stored)


def _weights_in(stored: Any, is_mmengines: bool = False) -> tuple[str, Mapping[str, Any] | None]:
    """Return the path of keys to the weights in a checkpoint, and the weights. Averaged weights are
    preferred."""
    if not isinstance(stored, dict):
        return "", None
    for key in _PLAIN[:1] if is_mmengines else (*_EMA, *_PLAIN):
        inner, found = _weights_in(stored.get(key))
        if found is not None:
            return f"{key}.{inner}" if inner else key, found
    return "", stored if _are_weights(stored) else None


def _are_weights(stored: Mapping[Any, Any]) -> bool:
    if not all(isinstance(name, str) for name in stored):
        return False
    return 2 * sum(isinstance(value, Tensor) for value in stored.values()) > len(stored)


def _whole_model(class_name: str) -> str:
    return (
        f"it holds a pickled Python object ({class_name}) instead of weights; load it where "
        "its code is installed and store its state_dict: torch.save(model.state_dict(), path)"
    )


def _no_weights(stored: Any) -> str:
    inner = [stored.get(key) for key in (*_EMA, *_PLAIN)] if isinstance(stored, dict) else []
    objects = [value for value in inner if isinstance(value, _Skipped)]
    if objects:
        return _whole_model(objects[0].stored_name)
    keys = [str(key) for key in stored] if isinstance(stored, dict) else []
    return (
        "it has no state_dict, which maps names to tensors"
        + (f"; its keys are {first_few(keys)}" if keys else "")
        + "; store the model's state_dict, preferably as safetensors"
    )


def _renamed(path: Path, stored: Mapping[str, Any], notes: list[str]) -> dict[str, Tensor]:
    """Return the weights by mmdet 3.x's names."""
    weights = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
    left_out: list[str] = []
    while prefix := _wrapper(weights):
        left_out += [name for name in weights if not name.startswith(prefix)]
        weights = {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
    # Buffers by which mmcv's EMA hook keeps the weights before averaging; the others are averaged.
    averaged = [name for name in weights if name.startswith("ema_") and "." not in name]
    left_out += averaged
    if left_out:
        notes.append(f"left out of {path.name}: {len(left_out)} tensors: {first_few(left_out)}")
    kept = {name: weight for name, weight in weights.items() if name not in set(averaged)}
    if "bbox_head.fc_cls.weight" in kept and "rpn_head.rpn_cls.weight" in kept:
        _refuse_mmdet1(path, {"mmdet_version": "1.x"})
    return {_new_name(name): weight for name, weight in kept.items()}


def _wrapper(weights: Mapping[str, Tensor]) -> str:
    """Return the prefix that most names have; empty if they have none of the known ones."""
    for prefix in _WRAPPERS:
        if 2 * sum(name.startswith(prefix) for name in weights) > len(weights):
            return prefix
    return ""


def _new_name(name: str) -> str:
    parts = name.split(".")
    if len(parts) > 2 and parts[0] == "bbox_head":
        parts[1] = _OLD_PREDICTORS.get(parts[1], parts[1])
    return ".".join(parts)


def _class_names(meta: Mapping[str, Any]) -> tuple[str, ...] | None:
    dataset = meta.get("dataset_meta")
    named = dataset if isinstance(dataset, dict) else {}
    for found in (named.get("classes"), named.get("CLASSES"), meta.get("CLASSES")):
        if isinstance(found, str):
            return (found,)
        if isinstance(found, list | tuple) and all(isinstance(name, str) for name in found):
            return tuple(found)
    return None
