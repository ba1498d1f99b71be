"""The config of a checkpoint is found from what the file holds, or from its name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config

from detection.mmdet.checkpoint_import import import_student
from detection.mmdet.config import build_config, find_config, model_config
from detection.mmdet.config_text import values_of
from detection.mmdet.identify import identify
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError

pytestmark = pytest.mark.timeout(60)  # mmdet's configs are compared

WEIGHTS = {"backbone.conv1.weight": torch.ones(1)}
R18 = "retinanet_r18_fpn_1x_coco"


def stored(path: Path, text: str | None = None, key: str = "cfg", **content: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    meta = {} if text is None else {key: text}
    torch.save({"state_dict": WEIGHTS, "meta": meta} | content, path)
    return path


@pytest.mark.parametrize(
    "config",
    ["faster-rcnn_r50_fpn_1x_coco", R18, "atss_r50_fpn_1x_coco", "cascade-rcnn_r101_fpn_1x_coco"],
)
def test_config_in_the_file_is_recognised(config: str, tmp_path: Path) -> None:
    text = Config.fromfile(find_config(config)).pretty_text

    assert identify(stored(tmp_path / "epoch_12.pth", text)) == (config, {})


def test_what_differs_from_the_shipped_config_becomes_options_that_import(tmp_path: Path) -> None:
    config = Config.fromfile(find_config(R18))
    config.merge_from_dict(
        {
            "model.backbone.base_channels": 8,
            "model.neck.in_channels": [8, 16, 32, 64],
            "model.neck.out_channels": 16,
            "model.bbox_head.in_channels": 16,
            "model.bbox_head.stacked_convs": 2,
            "model.bbox_head.num_classes": 3,
            "model.data_preprocessor.std": [1.0, 1.0, 1.0],
        }
    )
    model = build_config(model_config(MmdetDetector(config=R18, num_classes=3)) | config.model)
    path = stored(tmp_path / "epoch_12.pth", config.pretty_text, state_dict=model.state_dict())

    found = identify(path)

    assert found.config == R18
    assert found.options == {
        "backbone.base_channels": 8,
        "neck.in_channels": [8, 16, 32, 64],
        "neck.out_channels": 16,
        "bbox_head.in_channels": 16,
        "bbox_head.stacked_convs": 2,
        "data_preprocessor.std": [1.0, 1.0, 1.0],
    }
    student = import_student(found.config, path, options=found.options)
    assert student.detector.neck_channels == 16
    assert student.detector.num_classes == 3


def test_another_type_replaces_its_whole_part(tmp_path: Path) -> None:
    config = Config.fromfile(find_config(R18))
    config.model.neck = {"type": "PAFPN", "in_channels": [64, 128, 256, 512], "out_channels": 256}
    path = stored(tmp_path / "epoch_12.pth", config.pretty_text)

    name, options = identify(path)

    assert options == {
        "neck": {
            "_delete_": True,
            "type": "PAFPN",
            "in_channels": [64, 128, 256, 512],
            "out_channels": 256,
        }
    }
    model = model_config(MmdetDetector(config=name, options=options))
    assert model["neck"] == dict(config.model.neck)


def test_normalisation_in_the_text_of_mmdet_2_is_an_option(tmp_path: Path) -> None:
    config = Config.fromfile(find_config(R18))
    del config.model["data_preprocessor"]
    norm = (
        "img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
    )
    path = stored(tmp_path / "epoch_12.pth", norm + config.pretty_text, key="config")

    found = identify(path)

    assert found.options == {
        "data_preprocessor.mean": [103.53, 116.28, 123.675],
        "data_preprocessor.std": [1.0, 1.0, 1.0],
        "data_preprocessor.bgr_to_rgb": False,
    }


@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth", "faster-rcnn_r50_fpn_1x_coco"),
        ("retinanet_r18_fpn_1x_coco_20220407_171055-614fd399.pth", R18),
        (
            "cascade_rcnn_r50_fpn_20e_coco_bbox_mAP-0.41_20200504_175131-e9872a90.pth",
            "cascade-rcnn_r50_fpn_20e_coco",
        ),
        ("atss_r101_fpn_1x_20200825-dfcadd6f.pth", "atss_r101_fpn_1x_coco"),
        ("retinanet_r50_fpn_2x_coco.safetensors.pth", None),
        ("retinanet_r50_fpn_2x_coco.pth", "retinanet_r50_fpn_2x_coco"),
        ("retinanet_r50_fpn_2x_coco/epoch_24.pth", "retinanet_r50_fpn_2x_coco"),
    ],
)
def test_published_names_and_mmdets_folders_are_recognised(
    file: str, config: str | None, tmp_path: Path
) -> None:
    path = stored(tmp_path / file)
    if config is None:
        with pytest.raises(CheckpointError):
            identify(path)
    else:
        assert identify(path) == (config, {})


@pytest.mark.parametrize("text", [None, "model = (", "x = 1", "model = dict(type='Nothing')"])
def test_an_unknown_checkpoint_needs_a_config(text: str | None, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="name the config with --config"):
        identify(stored(tmp_path / "epoch_12.pth", text))


def test_text_of_a_config_is_read_without_being_run(tmp_path: Path) -> None:
    text = (
        f"a = dict(b=[1, -2.5], c=('x', None), **dict())\nb = a\nopen({str(tmp_path / 'x')!r}, 'w')"
    )

    assert values_of(text + "\nc = __import__('os').getcwd()\nd = dict(e=a)") == {
        "a": {"b": [1, -2.5], "c": ["x", None]},
        "b": {"b": [1, -2.5], "c": ["x", None]},
        "d": {"e": {"b": [1, -2.5], "c": ["x", None]}},
    }
    assert not (tmp_path / "x").exists()
