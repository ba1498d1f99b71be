"""Detectors are built from architectures and run (docs/papers.md 1.4)."""

from dataclasses import replace

import pytest
import torch
from mmdet.models import FasterRCNN
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from detection.build import (
    Student,
    assemble,
    build_detector,
    detector_config,
    load_student,
    with_family,
)
from searchd.domain.architecture import Architecture, BlockKind, preset
from searchd.domain.detector import Detector, Family
from searchd.domain.encoding import parse

pytestmark = pytest.mark.timeout(60)  # real detectors are trained

R18_STUDENT = (
    "[(64, 64)], [(128, 128)-(128, 128)], [(256, 256)-(256, 256)], [(512, 512)-(512, 512)]"
)
R50_STUDENT = (
    "[(58, 59, 205)-(60, 64, 205)-(63, 62, 205)], "
    "[(127, 128, 314)-(109, 122, 314)-(127, 123, 314)-(125, 124, 314)], "
    "[(256, 255, 591)-(243, 245, 591)-(237, 247, 591)-(243, 246, 591)-(252, 244, 591)"
    "-(252, 254, 591)], [(509, 507, 1856)-(509, 506, 1856)-(508, 507, 1856)]"
)
R101_STUDENT = (
    "[(49, 62, 202)-(35, 33, 202)-(56, 62, 202)], "
    "[(123, 128, 300)-(57, 90, 300)-(117, 113, 300)-(124, 117, 300)], "
    "[(255, 254, 321)-(65, 127, 321)-(32, 47, 321)-(32, 63, 321)-(120, 161, 321)"
    "-(132, 181, 321)-(162, 232, 321)-(175, 241, 321)-(143, 237, 321)-(199, 246, 321)"
    "-(210, 238, 321)-(201, 225, 321)-(210, 215, 321)-(211, 222, 321)-(201, 208, 321)"
    "-(198, 206, 321)-(200, 213, 321)-(226, 221, 321)-(234, 221, 321)-(237, 222, 321)], "
    "[(249, 229, 321)-(245, 231, 321)-(511, 478, 2031)-(507, 503, 2031)-(491, 477, 2031)]"
)


def tiny(architecture: Architecture) -> Detector:
    return Detector(
        architecture=architecture,
        num_classes=3,
        neck_channels=16,
        head_channels=32,
        mask_channels=8,
        num_proposals=20,
    )


def raw_batch() -> dict[str, list[object]]:
    """One RGB image of 60 x 64 pixels (W x H) with one object."""
    sample = DetDataSample(metainfo={"img_shape": (64, 60), "ori_shape": (64, 60)})
    sample.set_metainfo({"scale_factor": (1.0, 1.0)})
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 40.0, 44.0]]), labels=torch.tensor([1])
    )
    image = torch.randint(0, 256, (3, 64, 60), generator=torch.Generator().manual_seed(0))
    return {"inputs": [image.to(torch.uint8)], "data_samples": [sample]}


@pytest.mark.parametrize(
    ("text", "kind", "channels"),
    [
        (R18_STUDENT, BlockKind.BASIC, [64, 128, 256, 512]),
        (R50_STUDENT, BlockKind.BOTTLENECK, [205, 314, 591, 1856]),
        (R101_STUDENT, BlockKind.BOTTLENECK, [202, 300, 321, 2031]),
    ],
)
def test_published_student_runs_at_strides_4_to_32(
    text: str, kind: BlockKind, channels: list[int]
) -> None:
    model = build_detector(Detector(architecture=parse(text, kind))).eval()

    with torch.no_grad():
        outputs = model.backbone(torch.zeros(1, 3, 128, 128))
        levels = model.neck(outputs)

    assert [tuple(output.shape[1:]) for output in outputs] == [
        (channels[0], 32, 32),
        (channels[1], 16, 16),
        (channels[2], 8, 8),
        (channels[3], 4, 4),
    ]
    assert [tuple(level.shape[1:]) for level in levels] == [
        (256, 32, 32),
        (256, 16, 16),
        (256, 8, 8),
        (256, 4, 4),
        (256, 2, 2),
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_plain_resnet_equals_mmdets_when_given_its_weights(name: str) -> None:
    ours = assemble(Detector(architecture=preset(name))).backbone.eval()
    theirs = MODELS.build({"type": "ResNet", "depth": int(name[6:]), "norm_eval": False})
    theirs.eval()
    randomise(theirs)
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    ours.load_state_dict(theirs.state_dict(), strict=True)

    with torch.no_grad():
        for our, their in zip(ours(image), theirs(image), strict=True):
            torch.testing.assert_close(our, their, rtol=1e-5, atol=1e-5)


def test_grouped_blocks_equal_mmdets_resnext_when_given_its_weights() -> None:
    ours = assemble(Detector(architecture=preset("resnext101_32x4d"))).backbone
    with torch.device("meta"):
        theirs = MODELS.build({"type": "ResNeXt", "depth": 101, "groups": 32, "base_width": 4})

    assert shapes(ours) == shapes(theirs)
    assert ours.layer3[0].conv2.groups == theirs.layer3[0].conv2.groups == 32


def test_detector_trains_and_predicts_in_a_fresh_process_scope() -> None:
    torch.manual_seed(0)
    model = build_detector(tiny(preset("resnet18", base_channels=8)))

    batch = model.data_preprocessor(raw_batch(), training=True)
    losses = model(**batch, mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()

    assert tuple(batch["inputs"].shape) == (1, 3, 64, 64)
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "acc"}
    assert all(parameter.grad is not None for parameter in model.parameters())

    predicted = model.eval()(**batch, mode="predict")[0].pred_instances
    assert predicted.bboxes.shape == (len(predicted.scores), 4)


def test_every_bn_is_trained_and_follows_the_mode() -> None:
    model = build_detector(tiny(preset("resnet50", base_channels=8)))
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]

    assert len(norms) == 53
    assert all(norm.training and norm.weight.requires_grad for norm in norms)


def test_detector_values_reach_the_model() -> None:
    detector = Detector(
        architecture=preset("resnet18", base_channels=8),
        num_classes=7,
        neck_channels=24,
        head_channels=40,
        anchor_scale=4.0,
        finest_roi_scale=28,
        num_proposals=33,
        sampled_rois=40,
    )

    model = build_detector(detector)

    assert model.neck.fpn_convs[0].conv.weight.shape == (24, 24, 3, 3)
    assert model.rpn_head.rpn_conv.weight.shape == (24, 24, 3, 3)
    assert model.rpn_head.prior_generator.strides == [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]
    # A square anchor of P2: scale 4 times stride 4 = 16 pixels.
    assert model.rpn_head.prior_generator.base_anchors[0][1].tolist() == [-8.0, -8.0, 8.0, 8.0]
    assert model.roi_head.bbox_head.shared_fcs[0].weight.shape == (40, 24 * 49)
    assert model.roi_head.bbox_head.fc_cls.out_features == 8
    assert model.roi_head.bbox_head.fc_reg.out_features == 28
    assert model.roi_head.bbox_roi_extractor.finest_scale == 28
    assert model.test_cfg.rpn.max_per_img == model.train_cfg.rpn_proposal.max_per_img == 33
    assert model.roi_head.bbox_sampler.num == 40


def test_same_seed_gives_the_same_weights() -> None:
    detector = tiny(preset("resnet18", base_channels=8))

    torch.manual_seed(5)
    first = build_detector(detector).state_dict()
    torch.manual_seed(5)
    second = build_detector(detector).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_loaded_student_has_exactly_the_stored_weights() -> None:
    detector = tiny(preset("resnet50", base_channels=8))
    weights = build_detector(detector).state_dict()

    loaded = load_student(Student(detector=detector, weights=weights)).state_dict()

    assert list(loaded) == list(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_loading_fails_when_a_tensor_is_missing_or_of_another_shape() -> None:
    detector = tiny(preset("resnet18", base_channels=8))
    weights = dict(build_detector(detector).state_dict())
    smaller = weights | {"backbone.conv1.weight": torch.zeros(4, 3, 7, 7)}

    with pytest.raises(RuntimeError, match=r"size mismatch for backbone.conv1.weight"):
        load_student(Student(detector=detector, weights=smaller))
    del weights["neck.fpn_convs.0.conv.bias"]
    with pytest.raises(RuntimeError, match="Missing key"):
        load_student(Student(detector=detector, weights=weights))


@pytest.mark.parametrize(
    ("family", "keeps_neck"),
    [
        (Family.MASK_RCNN, True),
        (Family.CASCADE_RCNN, True),
        (Family.CASCADE_MASK_RCNN, True),
        (Family.RETINANET, False),
        (Family.FCOS, False),
        (Family.ATSS, False),
        (Family.GFL, False),
        (Family.VFNET, False),
        (Family.TOOD, False),
    ],
)
def test_searched_backbone_moves_to_another_family_with_its_weights(
    family: Family, keeps_neck: bool
) -> None:
    detector = tiny(parse("[(5, 8)], [(7, 9)-(3, 9)], [(8, 8)], [(4, 6)]", BlockKind.BASIC))
    model = build_detector(detector)
    randomise(model.backbone)
    student = Student(detector=detector, weights=model.state_dict())

    moved = with_family(student, family)

    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, after = load_student(student).eval(), load_student(moved).eval()
    with torch.inference_mode():
        stages = before.backbone(image)
        assert all(map(torch.equal, stages, after.backbone(image)))
        if keeps_neck:
            assert all(map(torch.equal, before.neck(stages), after.neck(stages)))
    assert moved.detector == replace(detector, family=family)
    if family.is_cascade:
        assert len(after.roi_head.bbox_head) == 3
        kept = {name for name in moved.weights if name.startswith(("backbone.", "neck."))}
        assert kept == {name for name in student.weights if name.startswith(("backbone.", "neck."))}


def test_faster_rcnn_becomes_a_mask_rcnn_that_finds_the_same_boxes() -> None:
    detector = tiny(parse("[(5, 8)], [(7, 9)-(3, 9)], [(8, 8)], [(4, 6)]", BlockKind.BASIC))
    student = Student(detector=detector, weights=build_detector(detector).state_dict())

    moved = with_family(student, Family.MASK_RCNN)

    drawn = {name for name in moved.weights if name not in student.weights}
    assert all(name.startswith("roi_head.mask_head.") for name in drawn)
    assert len(drawn) == 12  # weight and bias of four convolutions, the upsampling and the logits
    assert all(torch.equal(moved.weights[name], student.weights[name]) for name in student.weights)


def test_cascade_rcnn_becomes_a_cascade_mask_rcnn_that_finds_the_same_boxes() -> None:
    architecture = parse("[(5, 8)], [(7, 9)-(3, 9)], [(8, 8)], [(4, 6)]", BlockKind.BASIC)
    detector = replace(tiny(architecture), family=Family.CASCADE_RCNN)
    student = Student(detector=detector, weights=build_detector(detector).state_dict())

    moved = with_family(student, Family.CASCADE_MASK_RCNN)

    drawn = {name for name in moved.weights if name not in student.weights}
    assert all(name.startswith("roi_head.mask_head.") for name in drawn)
    assert len(drawn) == 3 * 12
    assert all(torch.equal(moved.weights[name], student.weights[name]) for name in student.weights)


def test_config_survives_being_written_and_read_by_mmengine() -> None:
    detector = tiny(preset("resnet50", base_channels=8))
    text = Config({"model": detector_config(detector)}).pretty_text

    model = MODELS.build(ConfigDict(Config.fromstring(text, ".py").model, _scope_="mmdet"))

    assert isinstance(model, FasterRCNN)
    assert shapes(model) == shapes(build_detector(detector))


def test_build_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    build_detector(tiny(preset("resnet18", base_channels=8)))

    assert capfd.readouterr() == ("", "")


def randomise(module: nn.Module) -> None:
    """Give BNs statistics and weights that differ from their defaults."""
    generator = torch.Generator().manual_seed(1)
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            for name in ("weight", "running_var"):
                getattr(child, name).data.uniform_(0.5, 1.5, generator=generator)
            for name in ("bias", "running_mean"):
                getattr(child, name).data.normal_(0.0, 0.1, generator=generator)


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    state: dict[str, Tensor] = module.state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items()}
