"""What mmdet trained becomes a student that computes the same (to 1e-5)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from mmdet.models import BaseDetector
from safetensors.torch import save_file
from torch import Tensor, nn

from detection.build import load_student
from detection.mmdet.checkpoint_import import (
    describe_checkpoint,
    import_detector,
    import_student,
)
from detection.mmdet.config import build_config, model_config
from detection.mmdet.known_families import EXAMPLES
from detection.mmdet.raw_outputs import raw_outputs
from searchd.domain.architecture import BlockKind, preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.errors import CheckpointError

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SMALL_TWO_STAGE = {
    "neck.out_channels": 32,
    "rpn_head.in_channels": 32,
    "rpn_head.feat_channels": 32,
    "roi_head.bbox_roi_extractor.out_channels": 32,
}
SMALL_HEAD = {"in_channels": 32, "fc_out_channels": 48}
SMALL_MASK_HEAD = {
    "roi_head.mask_roi_extractor.out_channels": 32,
    "roi_head.mask_head.in_channels": 32,
    "roi_head.mask_head.conv_out_channels": 24,
}
SMALL_CASCADE = SMALL_TWO_STAGE | {
    f"roi_head.bbox_head.{stage}.{key}": value
    for stage in range(3)
    for key, value in SMALL_HEAD.items()
}
SMALL: dict[Family, dict[str, Any]] = {
    Family.FASTER_RCNN: SMALL_TWO_STAGE
    | {f"roi_head.bbox_head.{key}": value for key, value in SMALL_HEAD.items()},
    Family.MASK_RCNN: SMALL_TWO_STAGE
    | {f"roi_head.bbox_head.{key}": value for key, value in SMALL_HEAD.items()}
    | SMALL_MASK_HEAD,
    Family.CASCADE_RCNN: SMALL_CASCADE,
    Family.CASCADE_MASK_RCNN: SMALL_CASCADE | SMALL_MASK_HEAD,
    Family.RETINANET: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
    Family.FCOS: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
    Family.ATSS: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
    Family.GFL: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
    Family.VFNET: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
    Family.TOOD: {"neck.out_channels": 32, "bbox_head.in_channels": 32},
}
THIN_R50 = {"backbone.base_channels": 16, "neck.in_channels": [64, 128, 256, 512]}


def trained(config: str, num_classes: int, options: dict[str, Any]) -> BaseDetector:
    """mmdet's own model with random weights, as if it had been trained."""
    torch.manual_seed(0)
    described = MmdetDetector(config=config, num_classes=num_classes, options=options)
    model = build_config(model_config(described))
    randomise(model)
    return model.eval()


def randomise(module: nn.Module) -> None:
    """Give norms statistics and weights that differ from their defaults."""
    generator = torch.Generator().manual_seed(1)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            nn.init.normal_(child.get_buffer("running_mean"), 0.0, 0.1, generator)
            nn.init.uniform_(child.get_buffer("running_var"), 0.5, 1.5, generator)
        if isinstance(child, nn.BatchNorm2d | nn.GroupNorm):
            child.weight.data.uniform_(0.5, 1.0, generator=generator)
            child.bias.data.normal_(0.0, 0.1, generator=generator)


def image() -> Tensor:
    """One RGB image, 3 x 64 x 96 in 0-255."""
    return torch.randint(0, 256, (3, 64, 96), generator=torch.Generator().manual_seed(2))


def normalised(model: BaseDetector, picture: Tensor) -> Tensor:
    """As the model's own preprocessor has it."""
    return model.data_preprocessor({"inputs": [picture.to(torch.uint8)]})["inputs"]


def largest_difference(one: BaseDetector, other: BaseDetector) -> float:
    """Of all raw outputs of mmdet's model (given BGR, as by its pipelines) and ours (RGB), as a
    share of each output's largest magnitude."""
    with torch.inference_mode():
        theirs = raw_outputs(one, normalised(one, image().flip(0)))
        ours = raw_outputs(other, normalised(other, image()))
    assert [name for name, _ in theirs] == [name for name, _ in ours]
    return max(
        float((a - b).abs().max() / a.abs().max().clamp(min=1e-9))
        for (_, a), (_, b) in zip(theirs, ours, strict=True)
        if a.numel()
    )


@pytest.mark.parametrize("family", Family)
def test_outputs_equal_mmdets_own(family: Family, tmp_path: Path) -> None:
    theirs = trained(EXAMPLES[family], 5, THIN_R50 | SMALL[family])
    torch.save({"meta": {}, "state_dict": theirs.state_dict()}, tmp_path / "model.pth")

    student = import_student(
        EXAMPLES[family], tmp_path / "model.pth", options=THIN_R50 | SMALL[family]
    )

    assert student.detector.family is family
    assert student.detector.num_classes == 5
    assert student.detector.architecture == preset("resnet50", base_channels=16)
    assert largest_difference(theirs, load_student(student).eval()) < 1e-5


def test_detector_of_a_published_config_is_the_default_one(tmp_path: Path) -> None:
    config = "faster-rcnn_r18_fpn_8xb8-amp-lsj-200e_coco"
    save_file(trained(config, 80, {}).state_dict(), tmp_path / "model.safetensors")

    student = import_student(config, tmp_path / "model.safetensors")

    assert student.detector == Detector(architecture=preset("resnet18"))


def test_numbers_of_the_config_are_taken_over(tmp_path: Path) -> None:
    options = (
        THIN_R50
        | SMALL[Family.FASTER_RCNN]
        | {
            "rpn_head.anchor_generator.scales": [4],
            "roi_head.bbox_roi_extractor.finest_scale": 28,
            "test_cfg.rpn.max_per_img": 77,
            "train_cfg.rcnn.sampler.num": 64,
        }
    )
    config = "faster-rcnn_r50_fpn_1x_coco"
    torch.save(trained(config, 3, options).state_dict(), tmp_path / "model.pth")

    found = import_student(config, tmp_path / "model.pth", options=options).detector

    assert found == Detector(
        architecture=preset("resnet50", base_channels=16),
        num_classes=3,
        neck_channels=32,
        head_channels=48,
        anchor_scale=4.0,
        finest_roi_scale=28,
        num_proposals=77,
        sampled_rois=64,
    )


def test_input_in_bgr_without_deviation_is_folded_into_the_first_convolution(
    tmp_path: Path,
) -> None:
    options = (
        THIN_R50
        | SMALL[Family.RETINANET]
        | {
            "data_preprocessor.mean": [103.530, 116.280, 123.675],
            "data_preprocessor.std": [1.0, 2.0, 4.0],
            "data_preprocessor.bgr_to_rgb": False,
        }
    )
    config = EXAMPLES[Family.RETINANET]
    theirs = trained(config, 5, options)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")

    student = import_student(config, tmp_path / "model.pth", options=options)

    assert not torch.equal(student.weights["backbone.conv1.weight"], theirs.backbone.conv1.weight)
    assert largest_difference(theirs, load_student(student).eval()) < 1e-5


@pytest.mark.parametrize(
    ("config", "options", "kind", "groups"),
    [
        (
            "retinanet_r18_fpn_1x_coco",
            {"backbone.base_channels": 16, "neck.in_channels": [16, 32, 64, 128]},
            BlockKind.BASIC,
            1,
        ),
        (
            "retinanet_x101-32x4d_fpn_1x_coco",
            {"backbone.depth": 50}
            | THIN_R50
            | {"backbone.base_channels": 64}
            | {"neck.in_channels": [256, 512, 1024, 2048]},
            BlockKind.BOTTLENECK,
            32,
        ),
        (
            "retinanet_r50_fpn_1x_coco",
            THIN_R50
            | {
                "backbone.dcn": {"type": "DCNv2", "deform_groups": 1},
                "backbone.stage_with_dcn": [False, True, True, True],
            },
            BlockKind.BOTTLENECK,
            1,
        ),
    ],
)
def test_other_backbones_equal_mmdets_too(
    config: str, options: dict[str, Any], kind: BlockKind, groups: int, tmp_path: Path
) -> None:
    options = options | SMALL[Family.RETINANET]
    theirs = trained(config, 5, options)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")

    student = import_student(config, tmp_path / "model.pth", options=options)

    assert student.detector.architecture.kind is kind
    assert student.detector.architecture.stages[0][0].groups == groups
    assert largest_difference(theirs, load_student(student).eval()) < 1e-5


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        ("faster-rcnn_r50_fpn_2x", {}, "similar names: .*faster-rcnn_r50_fpn_2x_coco"),
        ("ssd300_coco", {}, "describes a SingleStageDetector; a base is one of FasterRCNN"),
        (
            "retinanet_r50-caffe_fpn_1x_coco",
            {},
            "caffe style .* as in retinanet_r50_fpn_1x_coco",
        ),
        ("retinanet_r50_fpn_1x_coco", {"data_preprocessor.mean": [1.0, 2.0, 3.0]}, "subtracts"),
        (
            "retinanet_r50_fpn_1x_coco",
            {"bbox_head.bbox_coder.target_stds": [0.1, 0.1, 0.2, 0.2]},
            "other scales of box offsets",
        ),
        (
            "retinanet_r50_fpn_1x_coco",
            {"bbox_head.anchor_generator.ratios": [0.3, 1.0, 3.0]},
            "other anchors or points",
        ),
        (
            "retinanet_r50_fpn_1x_coco",
            {"backbone.dilations": (1, 1, 1, 2)},
            "other backbone stages",
        ),
        (
            "retinanet_r50_fpn_1x_coco",
            {"backbone.deep_stem": True},
            "stem of three convolutions",
        ),
        ("retinanet_r50_fpn_1x_coco", {"neck.type": "PAFPN"}, "has the neck PAFPN"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_a_reason(
    config: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    small = THIN_R50 | SMALL[Family.RETINANET] if config.startswith("retina") else {}
    theirs = trained(
        "retinanet_r50_fpn_1x_coco" if "caffe" in config or not options else config,
        5,
        small | options,
    )
    torch.save(theirs.state_dict(), tmp_path / "model.pth")

    with pytest.raises(CheckpointError, match=message):
        import_student(config, tmp_path / "model.pth", options=small | options)


def test_checkpoint_of_another_detector_is_refused(tmp_path: Path) -> None:
    options = THIN_R50 | SMALL[Family.RETINANET]
    torch.save(trained(EXAMPLES[Family.RETINANET], 5, options).state_dict(), tmp_path / "model.pth")

    with pytest.raises(CheckpointError, match=r"it has no roi_head.bbox_head.fc_cls.bias"):
        import_student(EXAMPLES[Family.FASTER_RCNN], tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=r"does not fit config retinanet_r50_fpn_1x_coco"):
        import_student(EXAMPLES[Family.RETINANET], tmp_path / "model.pth")


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere.pth cannot be read"):
        import_student(EXAMPLES[Family.RETINANET], tmp_path / "nowhere.pth")


THIN_MOBILENET: dict[str, Any] = {
    "backbone": {
        "_delete_": True,
        "type": "MobileNetV2",
        "widen_factor": 0.5,
        "out_indices": [1, 2, 4, 6],
    },
    "neck.in_channels": [16, 16, 48, 160],
}


def test_mobilenet_v2_is_converted(tmp_path: Path) -> None:
    options = THIN_MOBILENET | SMALL[Family.RETINANET]
    config = EXAMPLES[Family.RETINANET]
    theirs = trained(config, 5, options)
    torch.save(theirs.state_dict(), tmp_path / "model.pth")

    student = import_student(config, tmp_path / "model.pth", options=options)

    assert student.detector.architecture.kind is BlockKind.INVERTED_RESIDUAL
    assert student.detector.architecture.depths == (2, 3, 7, 4)
    assert largest_difference(theirs, load_student(student).eval()) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out_indices": [1, 2, 4, 7]}, r"has the out_indices \(1, 2, 4, 7\) of MobileNetV2"),
        ({"widen_factor": 0.25}, "its first block has 8 outputs instead of 4"),
    ],
)
def test_other_forms_of_mobilenet_v2_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    backbone = THIN_MOBILENET["backbone"] | change
    channels = [8, 8, 24, 80] if "widen_factor" in change else [16, 16, 48, 1280]
    options = (
        THIN_MOBILENET
        | SMALL[Family.RETINANET]
        | {"backbone": backbone, "neck.in_channels": channels}
    )
    config = EXAMPLES[Family.RETINANET]
    torch.save(trained(config, 5, options).state_dict(), tmp_path / "model.pth")

    with pytest.raises(CheckpointError, match=message):
        import_student(config, tmp_path / "model.pth", options=options)


def test_classes_are_those_of_the_file_or_of_the_configs_data_set(tmp_path: Path) -> None:
    config, options = EXAMPLES[Family.RETINANET], THIN_R50 | SMALL[Family.RETINANET]
    coco, five = trained(config, 80, options), trained(config, 5, options)
    torch.save(coco.state_dict(), tmp_path / "coco.pth")
    torch.save(five.state_dict(), tmp_path / "five.pth")
    named = {"meta": {"dataset_meta": {"classes": list("abcde")}}, "state_dict": five.state_dict()}
    torch.save(named, tmp_path / "named.pth")

    coco_names = import_detector(config, tmp_path / "coco.pth", options=options).class_names
    unnamed = import_detector(config, tmp_path / "five.pth", options=options)
    names = import_detector(config, tmp_path / "named.pth", options=options).class_names

    assert coco_names is not None
    assert coco_names[:2] == ("person", "bicycle")
    assert len(coco_names) == 80
    assert unnamed.class_names is None
    assert names == ("a", "b", "c", "d", "e")
    described = describe_checkpoint(config, tmp_path / "five.pth", options=options)
    assert described == unnamed.student.detector
