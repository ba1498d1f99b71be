"""What a recommended search starts from: --from, --config and --pretrained."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cli.starting_weights import check_options, start_of
from detection.build import Student, assemble, build_detector
from detection.export import export
from detection.mmdet.config import build_config, model_config
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec.codecs import DETECTOR

pytestmark = pytest.mark.timeout(60)  # real detectors are built

CONFIG = "retinanet_r18_fpn_1x_coco"
OPTIONS = {
    "backbone.base_channels": 8,
    "neck.in_channels": [8, 16, 32, 64],
    "neck.out_channels": 16,
    "bbox_head.in_channels": 16,
    "bbox_head.feat_channels": 16,
    "bbox_head.stacked_convs": 1,
}


def stored(folder: Path, classes: tuple[str, ...]) -> Path:
    """A checkpoint as mmdet's training stores it: with config and classes."""
    model = model_config(MmdetDetector(config=CONFIG, num_classes=len(classes), options=OPTIONS))
    meta = {"cfg": f"model = {model!r}", "dataset_meta": {"classes": classes}}
    file = folder / "epoch_12.pth"
    torch.save({"meta": meta, "state_dict": build_config(model).state_dict()}, file)
    return file


def test_checkpoint_names_its_own_config_and_is_fine_tuned_on_other_classes(
    tmp_path: Path,
) -> None:
    file = stored(tmp_path, ("cat", "dog", "cow"))

    start = start_of(file, None, None, ["dog", "horse"])

    mmdet = start.section["mmdet"]
    assert mmdet["checkpoint"] == str(file)
    assert start.loaded is not None
    assert (start.loaded.family, start.loaded.tower_channels) == (Family.RETINANET, 16)
    assert start.is_trained


def test_checkpoint_of_the_same_classes_is_used_as_it_is(tmp_path: Path) -> None:
    file = stored(tmp_path, ("cat", "dog"))

    assert not start_of(file, None, None, ["cat", "dog"]).is_trained


def test_export_of_searchd_is_named_by_its_folder(tmp_path: Path) -> None:
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=2,
        neck_channels=16,
        head_channels=32,
    )
    student = Student(detector=detector, weights=build_detector(detector).state_dict())
    export(student, tmp_path, class_names=["cat", "dog"], resolution=Resolution(64, 64))
    description = {"detector": DETECTOR.dump_python(detector, mode="json"), "licence": "MIT"}
    (tmp_path / "detector.json").write_text(json.dumps(description))

    start = start_of(tmp_path, None, None, ["cat", "dog"])

    assert (start.section, start.licence) == ({"export": str(tmp_path)}, "MIT")
    assert start.loaded == detector
    assert not start.is_trained


def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_text("<!DOCTYPE html><html></html>")

    with pytest.raises(CheckpointError, match="HTML"):
        start_of(tmp_path / "a.pth", None, None, ["cat"])


def test_weights_of_a_library_are_named_for_each_backbone() -> None:
    assert start_of(None, None, "timm", ["cat"]).pretrained["resnet18"] == {
        "timm": "resnet18.a1_in1k"
    }


def test_backbone_of_a_file_is_found_by_its_weights(tmp_path: Path) -> None:
    backbone = assemble(Detector(architecture=preset("resnet18"))).backbone
    file = tmp_path / "weights.safetensors"
    save_file(backbone.state_dict(), file)

    assert start_of(None, None, str(file), ["cat"]).pretrained == {"resnet18": {"file": str(file)}}


@pytest.mark.parametrize(
    ("source", "config", "pretrained", "message"),
    [
        (Path("a.pth"), None, "timm", "leave --pretrained out"),
        (None, CONFIG, None, "give --from too"),
        (None, None, "imagenet", "neither torchvision, timm, nor a file"),
    ],
)
def test_options_that_do_not_fit_each_other_are_refused(
    source: Path | None, config: str | None, pretrained: str | None, message: str
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        check_options(source, config, pretrained)


@pytest.mark.parametrize(
    ("source", "licence", "message"),
    [
        (None, "MIT", "--licence is of the weights in --from or --pretrained; a new detector has"),
        (Path("a.pth"), " ", "--licence is empty; write an SPDX id such as Apache-2.0"),
    ],
)
def test_a_licence_is_of_given_weights(source: Path | None, licence: str, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        check_options(source, None, None, licence)
