"""Detectors that mmdet trained become teachers as they are: any backbone, several kinds of head."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from detection.data.batches import make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.distillation.distiller import Distiller, pair_of
from detection.distillation.student import student_step
from detection.head_traits import family_of
from detection.mmdet.config import assemble_mmdet
from detection.teacher_loading import feature_levels, load_mmdet
from searchd.domain.detector import Family, MmdetDetector
from searchd.domain.distillation_methods import MethodName
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.messages.reports import FeatureLevel
from searchd.spec import MethodSpec
from tests.detection.distillation.conftest import tiny

SIZE = Resolution(64, 64)
SWIN = {
    "backbone.embed_dims": 8,
    "backbone.depths": [2, 2, 2, 2],
    "backbone.num_heads": [1, 2, 2, 4],
    "neck.out_channels": 6,
}
RESNET = {"backbone.depth": 18, "backbone.base_channels": 8, "neck.out_channels": 6}
HEAD = {"bbox_head.in_channels": 6, "bbox_head.feat_channels": 6}
TWO_STAGE = {
    "rpn_head.in_channels": 6,
    "rpn_head.feat_channels": 6,
    "roi_head.bbox_roi_extractor.out_channels": 6,
    "test_cfg.rpn.max_per_img": 20,
}
BOX_HEAD = {"roi_head.bbox_head.in_channels": 6, "roi_head.bbox_head.fc_out_channels": 16}
MASK_HEAD = {
    "roi_head.mask_roi_extractor.out_channels": 6,
    "roi_head.mask_head.in_channels": 6,
    "roi_head.mask_head.conv_out_channels": 6,
}
C3_TO_C5, C2_TO_C5 = [16, 32, 64], [8, 16, 32, 64]
ONE_STAGE_STRIDES, TWO_STAGE_STRIDES = (8, 16, 32, 64, 128), (4, 8, 16, 32, 64)
TEACHERS = {
    "Swin, RetinaNet": (
        "retinanet_swin-t-p4-w7_fpn_1x_coco",
        SWIN | HEAD | {"neck.in_channels": C3_TO_C5},
        ONE_STAGE_STRIDES,
    ),
    "Swin, Mask R-CNN": (
        "mask-rcnn_swin-t-p4-w7_fpn_1x_coco",
        SWIN | TWO_STAGE | BOX_HEAD | MASK_HEAD | {"neck.in_channels": C2_TO_C5},
        TWO_STAGE_STRIDES,
    ),
    "ResNeXt, Faster R-CNN": (
        "faster-rcnn_x101-32x4d_fpn_1x_coco",
        TWO_STAGE
        | BOX_HEAD
        | {
            "backbone.depth": 50,
            "backbone.base_channels": 16,
            "backbone.groups": 4,
            "backbone.base_width": 16,
            "neck.in_channels": [64, 128, 256, 512],
            "neck.out_channels": 6,
        },
        TWO_STAGE_STRIDES,
    ),
    "ResNet, FCOS": (
        "fcos_r50_fpn_gn-head-center-normbbox-centeronreg-giou_8xb8-amp-lsj-200e_coco",
        RESNET
        | {
            "neck.in_channels": C2_TO_C5,
            "bbox_head.in_channels": 6,
            "bbox_head.feat_channels": 32,
        },
        ONE_STAGE_STRIDES,
    ),
    "ResNet, ATSS": (
        "atss_r50_fpn_1x_coco",
        RESNET | {"neck.in_channels": C2_TO_C5, "bbox_head.in_channels": 6},
        ONE_STAGE_STRIDES,
    ),
    "ResNet, VFNet": (
        "vfnet_r50_fpn_1x_coco",
        RESNET | {"neck.in_channels": C2_TO_C5, "bbox_head.in_channels": 6},
        ONE_STAGE_STRIDES,
    ),
    "ResNet, TOOD": (
        "tood_r50_fpn_1x_coco",
        RESNET | {"neck.in_channels": C2_TO_C5, "bbox_head.in_channels": 6},
        ONE_STAGE_STRIDES,
    ),
}
every_teacher = pytest.mark.parametrize("name", TEACHERS)


def described(name: str, num_classes: int = 4) -> MmdetDetector:
    config, options, _ = TEACHERS[name]
    return MmdetDetector(config=config, num_classes=num_classes, options=options)


def weights(name: str, num_classes: int = 4) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state: dict[str, Tensor] = assemble_mmdet(described(name, num_classes)).state_dict()
    return state


def stored(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "teacher.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=2, num_validation=1, image_size=64).train)


@every_teacher
def test_a_teacher_of_mmdets_has_its_checkpoints_weights_and_levels(
    name: str, tmp_path: Path
) -> None:
    expected = weights(name)

    model = load_mmdet(described(name), stored(tmp_path, expected))

    found = model.state_dict()
    assert not model.training
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert feature_levels(model, SIZE) == tuple(
        FeatureLevel(stride=stride, channels=6) for stride in TEACHERS[name][2]
    )


@every_teacher
@pytest.mark.parametrize("family", [Family.FASTER_RCNN, Family.RETINANET])
def test_a_students_neck_learns_from_a_neck_of_other_strides(
    family: Family, name: str, split: CocoSplit
) -> None:
    torch.manual_seed(1)
    student: Any = tiny("resnet18", 4, family)
    teacher = assemble_mmdet(described(name)).eval()
    pair = pair_of(student, teacher, split)
    distiller = Distiller([MethodSpec(name=MethodName.FEATURE_MATCHING)], teacher, pair)

    taps = student_step(student, make_batch(split, [0, 1], SIZE, [False, True])).taps
    loss = distiller(taps)["feature_matching"]
    loss.backward()

    assert loss.detach() > 0
    assert student.backbone.conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in distiller.parameters())


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    state = weights("ResNet, ATSS")
    state["extra.weight"] = state.pop("bbox_head.atss_cls.bias")

    with pytest.raises(
        CheckpointError,
        match=r"atss_r50_fpn_1x_coco.*1 missing: bbox_head.atss_cls.bias; 1 left over: extra.w",
    ):
        load_mmdet(described("ResNet, ATSS"), stored(tmp_path, state))


def test_another_number_of_classes_is_refused_with_the_layer_that_shows_it(tmp_path: Path) -> None:
    path = stored(tmp_path, weights("ResNet, ATSS", num_classes=7))

    with pytest.raises(
        CheckpointError,
        match=r"with 4 classes, as the data set has: 2 of another shape: bbox_head.atss_cls.weight "
        r"\(7, 256, 3, 3\) instead of \(4, 256, 3, 3\)",
    ):
        load_mmdet(described("ResNet, ATSS"), path)


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    path = stored(tmp_path, {"nothing": torch.zeros(1)})

    with pytest.raises(
        CheckpointError, match=r"backbone.conv1.weight.* and \d+ more; \d+ left over"
    ):
        load_mmdet(described("ResNet, ATSS"), path)


def test_objects_beside_the_weights_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "epoch_12.pth"
    torch.save({"state_dict": weights("ResNet, ATSS"), "message_hub": nn.Linear(1, 1)}, path)

    model = load_mmdet(described("ResNet, ATSS"), path)

    assert torch.equal(
        model.backbone.conv1.weight, weights("ResNet, ATSS")["backbone.conv1.weight"]
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            "detr_r50_8xb2-150e_coco",
            "a DETR with the head DETRHead; a teacher has one stage or two",
        ),
        ("sparse-rcnn_r50_fpn_1x_coco", "a SparseRCNN with the head EmbeddingRPNHead"),
        ("rpn_r50_fpn_1x_coco", "a RPN with the head RPNHead"),
        (
            "fcos_r50-caffe_fpn_gn-head_1x_coco",
            "subtracts the mean .* use a config with ImageNet's",
        ),
        (
            "lad_r101-paa-r50_fpn_2xb8_coco_1x",
            "names teacher_ckpt: it would load another",
        ),
        ("retinanet_timm-tv-resnet50_fpn_1x_coco", "cannot be built by the installed mmdet"),
        ("retinanet_r500_fpn", "mmdet ships no config 'retinanet_r500_fpn'; similar names"),
    ],
)
def test_what_cannot_teach_is_refused_with_the_reason(
    config: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidValueError, match=message):
        load_mmdet(MmdetDetector(config=config, num_classes=4), tmp_path / "none.pth")


def test_the_family_whose_methods_fit_is_known_of_every_teacher() -> None:
    families = {name: family_of(assemble_mmdet(described(name))) for name in TEACHERS}
    assert families == {
        "Swin, RetinaNet": Family.RETINANET,
        "Swin, Mask R-CNN": Family.MASK_RCNN,
        "ResNeXt, Faster R-CNN": Family.FASTER_RCNN,
        "ResNet, FCOS": Family.FCOS,
        "ResNet, ATSS": Family.ATSS,
        "ResNet, VFNet": Family.VFNET,
        "ResNet, TOOD": Family.TOOD,
    }
