"""mmdet's own detectors are built from its shipped configs, and train on this project's images."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from mmdet.models import BaseDetector
from torch import Tensor, nn
from torch.optim import SGD

from detection.data.batches import Batch, make_batch
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.measurement.evaluation import predict
from detection.mmdet.config import (
    Normalisation,
    build_config,
    find_config,
    model_config,
)
from searchd.domain.detector import MmdetDetector
from searchd.domain.errors import InvalidValueError
from searchd.domain.resolution import Resolution
from tests.detection.mmdet.random_models import build_mmdet

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

SIZE = Resolution(64, 64)
FEW_ROIS = {
    "train_cfg.rcnn.sampler.num": 4,
    "train_cfg.rpn_proposal.max_per_img": 20,
    "test_cfg.rpn.max_per_img": 2,
}
RESNET18_C4 = {
    "backbone.depth": 18,
    "roi_head.shared_head.depth": 18,
    "rpn_head.in_channels": 256,
    "rpn_head.feat_channels": 16,
    "roi_head.bbox_roi_extractor.out_channels": 256,
    "roi_head.bbox_head.in_channels": 512,
}
"""ResNet-18 instead of ResNet-50 in a C4 detector, whose head has a fixed, large width."""
THIN = {"backbone.base_channels": 8, "rpn_head.feat_channels": 16}
TINY = {
    "ssd300": MmdetDetector(
        config="ssd300_coco",
        num_classes=4,
        options={
            "neck.out_channels": (512, 1024, 64),
            "neck.level_strides": (2,),
            "neck.level_paddings": (1,),
            "bbox_head.in_channels": (512, 1024, 64),
            "bbox_head.anchor_generator.strides": [8, 16, 32],
            "bbox_head.anchor_generator.ratios": [[2], [2, 3], [2]],
            "bbox_head.anchor_generator.input_size": 64,
            "bbox_head.anchor_generator.min_sizes": [8, 16, 32],
            "bbox_head.anchor_generator.max_sizes": [16, 32, 64],
            "bbox_head.anchor_generator.basesize_ratio_range": None,
        },
    ),
    "c4": MmdetDetector(
        config="faster-rcnn_r50-caffe_c4-1x_coco",
        num_classes=4,
        options=FEW_ROIS | RESNET18_C4,
    ),
    "dc5": MmdetDetector(
        config="faster-rcnn_r50-caffe-dc5_1x_coco",
        num_classes=4,
        options=FEW_ROIS
        | THIN
        | {
            "rpn_head.in_channels": 256,
            "roi_head.bbox_roi_extractor.out_channels": 256,
            "roi_head.bbox_head.in_channels": 256,
            "roi_head.bbox_head.fc_out_channels": 32,
        },
    ),
}
LOSSES = {
    "ssd300": {"loss_cls", "loss_bbox"},
    "c4": {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"},
    "dc5": {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"},
}
every_detector = pytest.mark.parametrize("name", TINY)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> CocoSplit:
    folder = tmp_path_factory.mktemp("shapes")
    return CocoSplit(make_shapes(folder, num_train=1, num_validation=1, image_size=64).train)


@pytest.fixture(scope="module")
def batch(split: CocoSplit) -> Batch:
    return make_batch(split, [0], SIZE, [False])


def built(name: str) -> BaseDetector:
    torch.manual_seed(0)
    return build_mmdet(TINY[name])


@every_detector
def test_mmdets_own_detector_learns_and_detects(name: str, batch: Batch, split: CocoSplit) -> None:
    model = built(name)
    optimizer = SGD(model.parameters(), lr=0.005, momentum=0.9)

    totals = []
    for step in range(4):
        torch.manual_seed(step)
        losses = model.loss(batch.inputs, batch.samples)
        total, _ = model.parse_losses(losses)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        totals.append(total.item())
    detections = [found for images in predict(model, split, SIZE) for found in images]

    assert {loss for loss in losses if "loss" in loss} == LOSSES[name]
    assert totals[-1] < totals[0]
    assert {found["category_id"] for found in detections} <= {1, 2, 3, 4}


@every_detector
def test_nothing_is_frozen(name: str) -> None:
    model = built(name)

    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@every_detector
def test_outputs_equal_those_of_mmdet_with_its_own_preprocessing(name: str) -> None:
    ours = built(name).eval()
    theirs = build_config(model_config(TINY[name])).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    rgb = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():
        expected = theirs.extract_feat(prepared(theirs, rgb.flip(0)))  # mmdet reads BGR
        found = ours.extract_feat(prepared(ours, rgb))

    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4 * float(one.abs().max()))


def test_conversion_is_kept_by_copies() -> None:
    model = built("ssd300").eval()
    image = torch.randn(1, 3, 64, 64)

    with torch.inference_mode():
        for one, other in zip(
            model.extract_feat(image), copy.deepcopy(model).extract_feat(image), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize(("config", "num_priors"), [("ssd300_coco", 8732), ("ssd512_coco", 24564)])
def test_published_ssd_has_as_many_priors_as_in_its_paper(config: str, num_priors: int) -> None:
    side = int(config[3:6])
    with torch.device("meta"):
        model = build_config(model_config(MmdetDetector(config=config))).to("meta")
        levels = model.extract_feat(torch.zeros(1, 3, side, side))

    anchors = model.bbox_head.prior_generator.num_base_priors
    assert sum(level.shape[-1] ** 2 * n for level, n in zip(levels, anchors, strict=True)) == (
        num_priors
    )


@pytest.mark.parametrize(
    ("config", "levels"),
    [
        ("faster-rcnn_r50-caffe_c4-1x_coco", [(1024, 8, 8)]),
        ("faster-rcnn_r50-caffe-dc5_1x_coco", [(2048, 8, 8)]),
    ],
)
def test_detectors_without_fpn_have_one_level_of_stride_16(
    config: str, levels: list[tuple[int, int, int]]
) -> None:
    with torch.device("meta"):
        model = build_config(model_config(MmdetDetector(config=config)))
        found = model.extract_feat(torch.zeros(1, 3, 128, 128))

    assert [tuple(level.shape[1:]) for level in found] == levels


def test_classes_are_set_in_every_head() -> None:
    config = model_config(MmdetDetector(config="cascade-rcnn_r50_fpn_1x_coco", num_classes=7))

    assert [head["num_classes"] for head in config["roi_head"]["bbox_head"]] == [7, 7, 7]


@pytest.mark.parametrize("config", ["faster-rcnn_r50-caffe_c4-1x_coco", "ssd300_coco"])
def test_no_weights_would_be_downloaded(config: str) -> None:
    assert "Pretrained" not in str(model_config(MmdetDetector(config=config)))


def test_options_replace_values_also_in_lists() -> None:
    options = {"roi_head.bbox_head.1.fc_out_channels": 5, "backbone.depth": 18}
    config = model_config(MmdetDetector(config="cascade-rcnn_r50_fpn_1x_coco", options=options))

    assert config["roi_head"]["bbox_head"][1]["fc_out_channels"] == 5
    assert config["backbone"]["depth"] == 18


def test_option_for_a_missing_list_item_is_refused() -> None:
    detector = MmdetDetector(
        config="cascade-rcnn_r50_fpn_1x_coco", options={"roi_head.bbox_head.3.num_classes": 5}
    )

    with pytest.raises(InvalidValueError, match="do not fit config cascade-rcnn_r50_fpn_1x_coco"):
        model_config(detector)


@pytest.mark.parametrize(
    "name", ["ssd300_coco", "ssd/ssd300_coco.py", "ssd300_coco.py", "ssd/ssd300_coco"]
)
def test_config_is_found_with_and_without_folder(name: str) -> None:
    assert find_config(name).name == "ssd300_coco.py"


def test_unknown_config_is_refused_with_the_close_names() -> None:
    with pytest.raises(
        InvalidValueError, match=r"no config 'ssd300'; similar names: .*ssd300_coco"
    ):
        find_config("ssd300")
    with pytest.raises(InvalidValueError, match="similar names: none"):
        find_config("?")


def test_input_is_reordered_and_scaled() -> None:
    bgr = Normalisation.of({"mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0]}, "x")

    converted = bgr.apply(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))

    torch.testing.assert_close(
        converted.flatten(), torch.tensor([3 * 57.375, 2 * 57.12, 1 * 58.395])
    )


def test_folded_convolution_equals_the_converted_input_at_the_border_too() -> None:
    bgr = Normalisation(order=(2, 1, 0), scale=(2.0, 3.0, 4.0))
    conv = nn.Conv2d(3, 5, 7, stride=2, padding=3, bias=False)
    folded = copy.deepcopy(conv)
    folded.weight.data = bgr.fold(conv.weight.data)
    image = torch.randn(1, 3, 16, 16)

    torch.testing.assert_close(folded(image), conv(bgr.apply(image)), rtol=1e-5, atol=1e-5)


def test_other_mean_is_refused() -> None:
    detector = replace(TINY["c4"], options={"data_preprocessor.mean": [102.98, 115.95, 122.77]})

    with pytest.raises(InvalidValueError, match=r"subtracts the mean \(102.98, 115.95, 122.77\)"):
        build_mmdet(detector)


def prepared(model: BaseDetector, image: Tensor) -> Any:
    return model.data_preprocessor({"inputs": [image.to(torch.uint8)]})["inputs"]


@pytest.mark.parametrize("key", ["teacher_config", "detector.teacher_ckpt"])
def test_options_cannot_have_a_file_run(key: str) -> None:
    detector = MmdetDetector(config="retinanet_r50_fpn_1x_coco", options={key: "/tmp/evil.py"})

    with pytest.raises(InvalidValueError, match="would load another detector when it is built"):
        build_mmdet(detector)
