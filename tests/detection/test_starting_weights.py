"""Detectors of mmdet start from checkpoints of other classes, and are trained on boxes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.mmdet.config import assemble_mmdet
from detection.starting_weights import load_matching, start_mmdet
from detection.training import Training
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import CheckpointError, InvalidValueError
from searchd.domain.resolution import Resolution
from searchd.spec import TrainingSpec
from tests.detection.test_teacher_loading import (
    TEACHERS,
    described,
    stored,
    weights,
)

TRAINING = TrainingSpec(
    epochs=1, batch_size=2, learning_rate=1e-3, resolutions=(Resolution(64, 64),)
)
CLASSES = ("circle", "cross", "square", "triangle")


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=2, num_validation=1, image_size=64).train)


@pytest.mark.parametrize("name", TEACHERS)
def test_every_detector_that_can_teach_is_trained_from_other_classes(
    name: str, split: CocoSplit, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    start = start_mmdet(
        described(name), stored(tmp_path, weights(name, num_classes=7)), split.class_names
    )
    before = {key: value.clone() for key, value in start.model.named_parameters()}

    (iteration,) = Training(start.model, split, TRAINING, seed=0).run()

    assert iteration.losses["loss"] > 0
    moved = [
        key for key, value in start.model.named_parameters() if not torch.equal(value, before[key])
    ]
    assert any(key.startswith("backbone.") for key in moved), "nothing is frozen"


def test_only_weights_that_depend_on_the_classes_start_anew() -> None:
    name = "ResNet, FCOS"
    loaded = weights(name, num_classes=7)
    model = assemble_mmdet(described(name))
    before = model.bbox_head.conv_cls.weight.clone()

    dropped = load_matching(model, loaded)

    assert dropped == (
        "bbox_head.conv_cls.weight (7, 32, 3, 3) instead of (4, 32, 3, 3)",
        "bbox_head.conv_cls.bias (7,) instead of (4,)",
    )
    assert torch.equal(model.bbox_head.conv_cls.weight, before)
    assert torch.equal(model.bbox_head.conv_reg.weight, loaded["bbox_head.conv_reg.weight"])


@pytest.mark.parametrize("name", ["ResNet, FCOS", "ResNet, ATSS"])
def test_classes_of_the_same_name_keep_their_rows(name: str, tmp_path: Path) -> None:
    loaded = weights(name, num_classes=3)
    file = tmp_path / "named.pth"
    names = ["bus", "Square", "circle"]
    torch.save({"meta": {"dataset_meta": {"classes": names}}, "state_dict": loaded}, file)

    start = start_mmdet(described(name), file, CLASSES)

    layer = {"ResNet, FCOS": "conv_cls", "ResNet, ATSS": "atss_cls"}[name]
    new = start.model.state_dict()[f"bbox_head.{layer}.weight"]
    old = loaded[f"bbox_head.{layer}.weight"]
    assert torch.equal(new[0], old[2])  # the circle
    assert torch.equal(new[2], old[1])  # the square
    assert not torch.equal(new[1], old[0])  # the cross, which is new
    assert start.notes[1] == (
        f"bbox_head.{layer}.weight, 3 -> 4 rows: 2 classes keep their rows (circle, square), "
        "2 are new (cross, triangle), 1 of the checkpoint are dropped"
    )


def test_the_same_classes_in_another_order_are_put_in_order(tmp_path: Path) -> None:
    loaded, file = weights("ResNet, FCOS"), tmp_path / "named.pth"
    names = ["triangle", "circle", "cross", "square"]
    torch.save({"meta": {"CLASSES": names}, "state_dict": loaded}, file)

    start = start_mmdet(described("ResNet, FCOS"), file, CLASSES)

    old = loaded["bbox_head.conv_cls.weight"]
    assert torch.equal(start.model.bbox_head.conv_cls.weight, old[[1, 2, 3, 0]])


def test_the_same_classes_are_loaded_completely() -> None:
    name = "ResNet, ATSS"
    assert load_matching(assemble_mmdet(described(name)), weights(name)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "missing: neck.fpn_convs.0.conv.bias"),
        ("left over", "left over: other.weight"),
        ("of another shape", "of another shape: backbone.conv1.weight"),
    ],
)
def test_a_checkpoint_of_another_detector_is_refused_and_nothing_is_loaded(
    change: str, message: str
) -> None:
    name = "ResNet, FCOS"
    loaded, model = weights(name), assemble_mmdet(described(name))
    before = model.bbox_head.conv_reg.weight.clone()
    if change == "missing":
        del loaded["neck.fpn_convs.0.conv.bias"]
    elif change == "left over":
        loaded["other.weight"] = torch.zeros(1)
    else:
        loaded["backbone.conv1.weight"] = torch.zeros(2)

    with pytest.raises(CheckpointError, match=message):
        load_matching(model, loaded)

    assert torch.equal(model.bbox_head.conv_reg.weight, before)


def test_without_a_checkpoint_weights_depend_on_the_seed_alone() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = start_mmdet(described("ResNet, FCOS"), None, CLASSES).model
        drawn.append(model.backbone.conv1.weight.detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore`` is False")  # mmdet's own
def test_a_semantic_head_is_refused_since_boxes_cannot_train_it() -> None:
    config = MmdetDetector(config="htc_r50_fpn_1x_coco", num_classes=4)
    with pytest.raises(InvalidValueError, match="semantic segmentation head, which boxes cannot"):
        start_mmdet(config, None, CLASSES)


def test_a_mask_head_of_the_checkpoint_is_left_out(tmp_path: Path) -> None:
    mask = described("Swin, Mask R-CNN", num_classes=4)
    file = tmp_path / "mask.safetensors"
    save_file(assemble_mmdet(mask).state_dict(), file)

    start = start_mmdet(mask, file, CLASSES)

    assert start.detector.options["roi_head.mask_head"] is None
    assert not start.model.roi_head.with_mask
    assert start.notes[1] == f"loaded 163 of 163 weights of {file}"
