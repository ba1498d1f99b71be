"""Exports a student as files that plain mmdet loads, without anything of its training.

Distillation adapters and teachers are not part of a `Student`, so they cannot be exported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from mmengine.config import Config
from safetensors.torch import save_file
from torch import Tensor

from detection.backbones import architecture_backbone
from detection.build import Student, detector_config
from searchd.domain.detector import Detector
from searchd.domain.resolution import Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The files of an export."""

    config: Path
    """The mmdet config: model, test pipeline and classes."""
    checkpoint: Path
    """The mmengine checkpoint: weights and classes."""
    weights: Path
    """The same weights as safetensors."""
    backbone: Path
    """The only module that the config imports. It needs torch and mmdet only."""


def export(
    student: Student, folder: Path, *, class_names: Sequence[str], resolution: Resolution
) -> Export:
    """Write a student for use without searchd.

    `mmdet.apis.init_detector(config, checkpoint)` loads it wherever `detection.backbones` can be
    imported: with searchd installed, or with PYTHONPATH set to `folder`.

    Args:
        student: The detector with its weights.
        folder: The folder to write to. It is created if missing; files in it are overwritten.
        class_names: Names of the classes, in the order of the labels.
        resolution: Resolution of the config's test pipeline.
    """
    module = architecture_backbone.__name__
    files = Export(
        config=folder / "config.py",
        checkpoint=folder / "checkpoint.pth",
        weights=folder / "model.safetensors",
        backbone=folder.joinpath(*module.split(".")).with_suffix(".py"),
    )
    files.backbone.parent.mkdir(parents=True, exist_ok=True)
    copyfile(architecture_backbone.__file__, files.backbone)
    config = mmdet_config(student.detector, class_names, resolution)
    files.config.write_text(with_import(config, architecture_backbone.__name__))
    weights = write_checkpoint(student.weights, files.checkpoint, class_names)
    save_file(weights, files.weights)
    return files


def write_checkpoint(
    weights: Mapping[str, Tensor], file: Path, class_names: Sequence[str]
) -> dict[str, Tensor]:
    """Write a checkpoint of mmengine, and return the weights that it holds."""
    # A view of a larger tensor would put all of that tensor into the file.
    stored = {name: value.detach().clone() for name, value in weights.items()}
    meta = {"dataset_meta": {"classes": list(class_names)}}
    torch.save({"meta": meta, "state_dict": stored}, file)
    return stored


def with_import(config: Mapping[str, Any], module: str) -> str:
    """Return an mmdet config that imports a module, as Python source."""
    imports = {"imports": [module], "allow_failed_imports": False}
    text: str = Config(dict(config) | {"custom_imports": imports}).pretty_text
    return text


def mmdet_config(
    detector: Detector, class_names: Sequence[str], resolution: Resolution
) -> dict[str, Any]:
    """Return an mmdet config with model, test pipeline and classes, without imports."""
    model = detector_config(detector)
    model["data_preprocessor"]["bgr_to_rgb"] = True  # mmdet's pipelines read BGR
    return {
        "default_scope": "mmdet",
        "model": model,
        "test_dataloader": {
            "batch_size": 1,
            "dataset": {
                "type": "CocoDataset",
                "test_mode": True,
                "metainfo": {"classes": list(class_names)},
                "pipeline": _pipeline(resolution),
            },
        },
    }


def _pipeline(resolution: Resolution) -> list[dict[str, Any]]:
    return [
        {"type": "LoadImageFromFile"},
        {
            "type": "Resize",
            "scale": (resolution.width, resolution.height),
            "keep_ratio": True,
        },
        {
            "type": "PackDetInputs",
            "meta_keys": ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
        },
    ]
