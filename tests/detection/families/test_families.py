"""Every family is mmdet's own around an architecture; it runs, learns, detects and is scored."""

from typing import Any

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import nn

from detection.build import Student, assemble, build_detector, detector_config, load_student
from detection.data.coco import CocoSplit
from detection.data.shapes import make_shapes
from detection.measurement.evaluation import evaluate
from detection.measurement.latency import measure
from detection.mmdet.config import build_config, model_config
from detection.mmdet.known_families import EXAMPLES
from detection.training import Training
from searchd.domain.architecture import preset
from searchd.domain.detector import Detector, Family, MmdetDetector
from searchd.domain.resolution import Resolution
from searchd.spec import DatasetSpec, TrainingSpec

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

PARTS = ("neck", "rpn_head", "roi_head", "bbox_head", "train_cfg", "test_cfg")
LOSSES = {
    Family.FASTER_RCNN: {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox"},
    Family.MASK_RCNN: {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask"},
    Family.CASCADE_RCNN: {"loss_rpn_cls", "loss_rpn_bbox"}
    | {f"s{stage}.{loss}" for stage in range(3) for loss in ("loss_cls", "loss_bbox")},
    Family.CASCADE_MASK_RCNN: {"loss_rpn_cls", "loss_rpn_bbox"}
    | {f"s{stage}.{loss}" for stage in range(3) for loss in ("loss_cls", "loss_bbox", "loss_mask")},
    Family.RETINANET: {"loss_cls", "loss_bbox"},
    Family.FCOS: {"loss_cls", "loss_bbox", "loss_centerness"},
    Family.ATSS: {"loss_cls", "loss_bbox", "loss_centerness"},
    Family.GFL: {"loss_cls", "loss_bbox", "loss_dfl"},
    Family.VFNET: {"loss_cls", "loss_bbox", "loss_bbox_rf"},
    Family.TOOD: {"loss_cls", "loss_bbox"},
}
SIZE = Resolution(64, 64)
every_family = pytest.mark.parametrize("family", Family)


def tiny(family: Family, **values: Any) -> Detector:
    defaults: dict[str, Any] = {
        "architecture": preset("resnet18", base_channels=8),
        "num_classes": 4,
        "family": family,
        "neck_channels": 16,
        "head_channels": 32,
        "mask_channels": 16,
        "tower_channels": 24,
        "tower_convs": 2,
        "num_proposals": 20,
    }
    return Detector(**defaults | values)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> DatasetSpec:
    folder = tmp_path_factory.mktemp("shapes")
    return make_shapes(folder, num_train=4, num_validation=2, image_size=64)


@pytest.mark.parametrize("part", PARTS)
@every_family
def test_every_value_of_mmdets_config_is_kept(family: Family, part: str) -> None:
    theirs = model_config(MmdetDetector(config=EXAMPLES[family])).get(part) or {}
    ours = detector_config(Detector(architecture=preset("resnet50"), family=family)).get(part, {})

    found = flat(ours)
    assert {key: found.get(key) for key in flat(theirs)} == flat(theirs)


@every_family
def test_parameters_have_mmdets_names_and_shapes(family: Family) -> None:
    with torch.device("meta"):
        theirs = build_config(model_config(MmdetDetector(config=EXAMPLES[family])))
        ours = assemble(Detector(architecture=preset("resnet50"), family=family))

    assert sizes(ours) == sizes(theirs)


@every_family
def test_losses_reach_every_parameter(family: Family) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny(family))
    batch = model.data_preprocessor(raw_batch(), training=True)

    losses = model(**batch, mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()

    assert {name for name in losses if "loss" in name} == LOSSES[family]
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []


EPOCHS = {family: 15 for family in Family if family.two_stage} | {Family.GFL: 60}
"""Of a short training; 30 for the other families. GFL's scores are trained to be the overlaps of
its boxes, so that its loss rises before it falls."""


@every_family
def test_short_training_lowers_the_loss(family: Family, shapes: DatasetSpec) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny(family, anchor_scale=2.0, finest_roi_scale=14))
    spec = TrainingSpec(
        epochs=EPOCHS.get(family, 30),
        batch_size=4,
        learning_rate=0.05,
        resolutions=(SIZE,),
        flip_probability=0,
    )
    training = Training(model, CocoSplit(shapes.train), spec, seed=0)

    losses = [done.losses["loss"] for done in training.run()]

    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


@every_family
def test_detections_are_scored_and_timed(family: Family, shapes: DatasetSpec) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny(family))

    found = evaluate(model, CocoSplit(shapes.validation), SIZE)

    assert 0 <= found.ap <= 1
    assert measure(model, SIZE, num_images=1).latency_s > 0
    assert model.training


@every_family
def test_loaded_student_predicts_as_before(family: Family) -> None:
    torch.manual_seed(0)
    model = build_detector(tiny(family))
    loaded = load_student(Student(detector=tiny(family), weights=model.state_dict()))
    image = torch.randn(1, 3, 128, 128)

    with torch.inference_mode():
        first, second = model.eval().backbone(image), loaded.eval().backbone(image)
        pairs = zip(model.neck(first), loaded.neck(second), strict=True)

    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize(
    ("family", "strides", "level_sizes"),
    [
        (Family.FASTER_RCNN, (4, 8, 16, 32, 64), [32, 16, 8, 4, 2]),
        (Family.MASK_RCNN, (4, 8, 16, 32, 64), [32, 16, 8, 4, 2]),
        (Family.CASCADE_RCNN, (4, 8, 16, 32, 64), [32, 16, 8, 4, 2]),
        (Family.CASCADE_MASK_RCNN, (4, 8, 16, 32, 64), [32, 16, 8, 4, 2]),
        (Family.RETINANET, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
        (Family.FCOS, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
        (Family.ATSS, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
        (Family.GFL, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
        (Family.VFNET, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
        (Family.TOOD, (8, 16, 32, 64, 128), [16, 8, 4, 2, 1]),
    ],
)
def test_levels_have_the_detectors_strides(
    family: Family, strides: tuple[int, ...], level_sizes: list[int]
) -> None:
    model = assemble(tiny(family)).eval()
    with torch.inference_mode():
        levels = model.neck(model.backbone(torch.zeros(1, 3, 128, 128)))

    assert tiny(family).strides == strides
    assert [level.shape[-1] for level in levels] == level_sizes


@pytest.mark.parametrize(
    ("family", "scale", "side"),
    [
        (Family.CASCADE_RCNN, None, 32.0),  # 8 x stride 4
        (Family.RETINANET, None, 32.0),  # 4 x stride 8
        (Family.RETINANET, 2.0, 16.0),
    ],
)
def test_smallest_square_anchor_is_the_scale_times_the_stride(
    family: Family, scale: float | None, side: float
) -> None:
    model = assemble(tiny(family, anchor_scale=scale))
    head = model.rpn_head if family.two_stage else model.bbox_head
    x1, _, x2, _ = head.prior_generator.base_anchors[0].tolist()[3 if not family.two_stage else 1]

    assert x2 - x1 == side


ONE_SQUARE = [Family.ATSS, Family.GFL, Family.VFNET, Family.TOOD]


@pytest.mark.parametrize("family", ONE_SQUARE)
def test_adaptive_families_have_one_square_anchor_in_each_cell(family: Family) -> None:
    usual, small = (assemble(tiny(family, anchor_scale=scale)) for scale in (None, 2.0))

    def boxes(model: Any) -> list[list[list[float]]]:
        head = model.bbox_head
        anchors = getattr(head, "atss_prior_generator", head.prior_generator)
        return [level.tolist() for level in anchors.base_anchors[:2]]

    assert boxes(usual) == [[[-32.0, -32.0, 32.0, 32.0]], [[-64.0, -64.0, 64.0, 64.0]]]
    assert boxes(small) == [[[-8.0, -8.0, 8.0, 8.0]], [[-16.0, -16.0, 16.0, 16.0]]]


WITH_MASKS = [Family.MASK_RCNN, Family.CASCADE_MASK_RCNN]


def test_exported_detectors_of_masks_pad_them_as_mmdets_own() -> None:
    ours = {family: detector_config(tiny(family))["data_preprocessor"] for family in Family}

    assert [family for family in Family if "pad_mask" in ours[family]] == WITH_MASKS
    for family in WITH_MASKS:
        theirs = model_config(MmdetDetector(config=EXAMPLES[family]))
        assert ours[family]["pad_mask"] == theirs["data_preprocessor"]["pad_mask"] is True


def test_mask_head_reads_the_necks_width_and_pools_as_its_box_head() -> None:
    detector = tiny(Family.MASK_RCNN, neck_channels=12, mask_channels=20, finest_roi_scale=14)
    head = assemble(detector).roi_head

    assert tuple(head.mask_head.convs[0].conv.weight.shape) == (20, 12, 3, 3)
    assert tuple(head.mask_head.conv_logits.weight.shape) == (4, 20, 1, 1)
    assert head.mask_roi_extractor.finest_scale == head.bbox_roi_extractor.finest_scale == 14


def test_fcos_levels_end_at_the_scale_times_their_stride() -> None:
    usual, small = (assemble(tiny(Family.FCOS, anchor_scale=scale)) for scale in (None, 2.0))

    infinity = 100_000_000
    assert [tuple(pair) for pair in usual.bbox_head.regress_ranges] == [
        (-1, 64),
        (64, 128),
        (128, 256),
        (256, 512),
        (512, infinity),
    ]
    assert [tuple(pair) for pair in small.bbox_head.regress_ranges] == [
        (-1, 16),
        (16, 32),
        (32, 64),
        (64, 128),
        (128, infinity),
    ]


@pytest.mark.parametrize(
    ("width", "groups"), [(256, 32), (64, 32), (32, 16), (24, 4), (8, 4), (7, 1)]
)
@pytest.mark.parametrize("family", [Family.FCOS, Family.ATSS, Family.GFL, Family.VFNET])
def test_norm_of_a_tower_has_the_most_groups_of_two_channels_or_more(
    family: Family, width: int, groups: int
) -> None:
    model = assemble(tiny(family, tower_channels=width))

    model.bbox_head([torch.zeros(1, 16, 1, 1)] * 5)  # each level of one cell
    assert model.bbox_head.cls_convs[0].gn.num_groups == groups


@pytest.mark.parametrize(("width", "groups"), [(256, 32), (24, 4), (9, 1)])
def test_norm_of_tood_has_the_groups_of_the_other_families(width: int, groups: int) -> None:
    head = assemble(tiny(Family.TOOD, tower_channels=width)).bbox_head

    norms = [module for module in head.modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_groups for norm in norms] == [groups] * 4  # two convolutions, two reductions


def test_first_boxes_of_vfnet_are_as_wide_as_its_levels_distances() -> None:
    usual, small = (assemble(tiny(Family.VFNET, anchor_scale=scale)) for scale in (None, 2.0))

    assert usual.bbox_head.reg_denoms == [64, 128, 256, 512, 1024]
    assert small.bbox_head.reg_denoms == [16, 32, 64, 128, 256]


@pytest.mark.parametrize(
    ("num_epochs", "initial"),
    [(1, [True]), (3, [True, False, False]), (12, [True] * 4 + [False] * 8)],
)
def test_tood_starts_with_the_targets_of_atss_for_a_third_of_mmdets_schedule(
    num_epochs: int, initial: list[bool], shapes: DatasetSpec
) -> None:
    spec = TrainingSpec(epochs=num_epochs, batch_size=4, resolutions=(SIZE,))
    training = Training(build_detector(tiny(Family.TOOD)), CocoSplit(shapes.train), spec, seed=0)
    head = training.model.bbox_head

    found = [head.epoch < head.initial_epoch for _ in training.run()]

    assert found == initial


def test_loaded_tood_has_the_targets_of_a_trained_one(shapes: DatasetSpec) -> None:
    spec = TrainingSpec(epochs=1, batch_size=4, resolutions=(SIZE,))
    list(Training(build_detector(tiny(Family.TOOD)), CocoSplit(shapes.train), spec, seed=0).run())

    model = build_detector(tiny(Family.TOOD))
    model(**model.data_preprocessor(raw_batch(), training=True), mode="loss")

    assert model.bbox_head.epoch >= model.bbox_head.initial_epoch


def test_cascade_stages_are_stricter_one_by_one_and_count_less() -> None:
    model = assemble(tiny(Family.CASCADE_RCNN))

    assert [assigner.pos_iou_thr for assigner in model.roi_head.bbox_assigner] == [0.5, 0.6, 0.7]
    assert model.roi_head.stage_loss_weights == [1.0, 0.5, 0.25]
    assert [head.fc_reg.out_features for head in model.roi_head.bbox_head] == [4, 4, 4]


def raw_batch() -> dict[str, list[object]]:
    """One RGB image of 60 x 64 pixels (W x H) with one object."""
    sample = DetDataSample(metainfo={"img_shape": (64, 60), "ori_shape": (64, 60)})
    sample.set_metainfo({"scale_factor": (1.0, 1.0)})
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 40.0, 44.0]]), labels=torch.tensor([1])
    )
    pixels = np.zeros((1, 64, 60), np.uint8)
    pixels[:, 10:44, 10:40] = 1
    sample.gt_instances.masks = BitmapMasks(pixels, 64, 60)
    image = torch.randint(0, 256, (3, 64, 60), generator=torch.Generator().manual_seed(0))
    return {"inputs": [image.to(torch.uint8)], "data_samples": [sample]}


def flat(config: Any, prefix: str = "") -> dict[str, object]:
    """A nested config by dotted keys; tuples and lists are alike."""
    if isinstance(config, dict):
        items: Any = config.items()
    elif isinstance(config, list | tuple) and config and isinstance(config[0], dict):
        items = enumerate(config)
    else:
        return {prefix: list(config) if isinstance(config, tuple) else config}
    return {k: v for key, value in items for k, v in flat(value, f"{prefix}.{key}").items()}


def sizes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}
